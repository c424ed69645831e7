//! What Linux tells of processes under `/proc`: CPU time by thread, memory, and the machine's own CPU time.
//! Elsewhere there is no `/proc`; then everything here is empty. Refuses to know what the processes do.

use std::collections::BTreeMap;
use std::fs;

/// How CPU time is counted in `/proc`: hundredths of a second, on every platform that Linux programs see.
const TICKS_PER_SECOND: f64 = 100.0;
/// The name under which the time of threads that are gone is counted.
const GONE: &str = "(ended threads)";

/// CPU time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    /// In the program.
    pub user: f64,
    /// In the kernel on its behalf.
    pub system: f64,
}

impl CpuTime {
    /// Both.
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    /// With more.
    pub fn plus(self, more: Self) -> Self {
        Self { user: self.user + more.user, system: self.system + more.system }
    }

    /// Since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// CPU time of a process by the names of its threads. What threads used that are gone stands under a name of its own,
/// so that the sum is the process's.
pub fn threads(pid: u32) -> BTreeMap<String, CpuTime> {
    let mut threads: BTreeMap<String, CpuTime> = BTreeMap::new();
    let whole = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|line| stat(&line));
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let line = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, used)) = stat(&line) {
            let sum = threads.entry(name).or_default();
            *sum = sum.plus(used);
        }
    }
    let alive = threads.values().fold(CpuTime::default(), |sum, used| sum.plus(*used));
    if let Some((_, whole)) = whole {
        // The kernel rounds each thread by itself; what that makes too much is nobody's.
        let gone = whole.since(alive);
        threads.insert(GONE.to_owned(), CpuTime { user: gone.user.max(0.0), system: gone.system.max(0.0) });
    }
    threads
}

/// Name and CPU time in a line of `stat`. The name stands in parentheses and may hold any character.
fn stat(line: &str) -> Option<(String, CpuTime)> {
    let (before, rest) = line.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let mut fields = rest.split_ascii_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    let (user, system) = (fields.next()??, fields.next()??);
    Some((name.to_owned(), CpuTime { user: user / TICKS_PER_SECOND, system: system / TICKS_PER_SECOND }))
}

/// CPU seconds that the whole machine has spent doing anything.
pub fn machine_busy() -> f64 {
    fs::read_to_string("/proc/stat").ok().and_then(|text| busy(&text)).unwrap_or_default()
}

/// Everything but idling and waiting for a disk. Guests' time is part of the user's already.
fn busy(text: &str) -> Option<f64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let fields: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    let busy: f64 = fields.iter().take(8).sum::<f64>() - fields.get(3)? - fields.get(4)?;
    Some(busy / TICKS_PER_SECOND)
}

/// A process and those that it started, while they are there.
pub fn family(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let line = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let children = numbers.filter(|child| parent(&line(*child)) == Some(pid));
    [pid].into_iter().chain(children).collect()
}

/// The parent in a line of `stat`.
fn parent(line: &str) -> Option<u32> {
    line.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Microseconds of CPU that the first threads of some processes have used, more finely than [`threads`] tells.
pub fn cpu_used(pids: &[u32]) -> u64 {
    let nanos = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        line.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or_default()
    };
    pids.iter().map(nanos).sum::<u64>() / 1000
}

/// Memory of processes that share much of it, in megabytes (10^6 bytes): each page counts once.
pub fn shared(pids: &[u32]) -> Option<f64> {
    let share = |pid: &u32| proportional(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?);
    let all: Vec<f64> = pids.iter().filter_map(share).collect();
    if all.is_empty() { None } else { Some(all.iter().sum()) }
}

fn proportional(rollup: &str) -> Option<f64> {
    let kibibytes = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// Memory of a process in megabytes (10^6 bytes): now, and the most that it ever was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Resident now.
    pub resident: f64,
    /// The most that was resident.
    pub most: f64,
}

/// The memory of a process; `None` where nobody tells.
pub fn memory(pid: u32) -> Option<Memory> {
    memory_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn memory_of(status: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: f64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024.0 / 1e6)
    };
    Some(Memory { resident: field("VmRSS")?, most: field("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 0 0 0 250 30 0 0 20 0 1 0 99 1000 10";
        assert_eq!(stat(line), Some(("a) b (c".to_owned(), CpuTime { user: 2.5, system: 0.3 })));
        assert_eq!(stat(""), None);
    }

    #[test]
    fn what_is_shared_counts_by_its_share() {
        assert_eq!(proportional("Rss:    9000 kB\nPss:    1000 kB\nPss_Anon: 3 kB\n"), Some(1.024));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_is_of_the_family() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = family(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&std::process::id()) && family.contains(&child.id()), "{family:?}");
        assert!(cpu_used(&family) > 0 && shared(&[std::process::id()]).is_some_and(|share| share > 0.0));
    }

    #[test]
    fn idling_is_not_busy() {
        assert_eq!(busy("cpu  100 0 50 9000 300 0 20 30 40 0\ncpu0 1 1"), Some(2.0));
    }

    #[test]
    fn memory_is_in_megabytes() {
        let status = "Name:\tpostcall\nVmHWM:\t  200000 kB\nVmRSS:\t  100000 kB\n";
        assert_eq!(memory_of(status), Some(Memory { resident: 102.4, most: 204.8 }));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_there() {
        let own = threads(std::process::id());
        assert!(own.contains_key(GONE) && own.len() > 1, "{own:?}");
        assert!(memory(std::process::id()).is_some_and(|memory| memory.most >= memory.resident));
    }
}
