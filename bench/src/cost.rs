//! Where the microseconds of one event go: CPU time by part and thread while a load runs, divided by what was
//! delivered. With what others used and what nobody used it adds up to the machine's cores times the time that passed.
//! Refuses to know what the parts do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::{now, seconds};
use crate::procfs::{self, CpuTime};

/// Where CPU time went, in microseconds for each event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuTable {
    /// What the events went through.
    pub through: String,
    /// Events that were delivered.
    pub events: u64,
    /// One for each part's threads of one name, the largest part first.
    pub lines: Vec<CpuLine>,
    /// What the rest of the machine used, its kernel threads among it.
    pub others: f64,
    /// Cores that had nothing to do, or waited for the disk.
    pub idle: f64,
    /// The cores of the machine.
    pub cores: f64,
    /// Time that passed.
    pub wall: f64,
}

/// One part's threads of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuLine {
    /// Whose.
    pub part: String,
    /// Which threads.
    pub thread: String,
    /// In the program.
    pub user: f64,
    /// In the kernel on its behalf.
    pub system: f64,
}

type ByThread = BTreeMap<(&'static str, String), CpuTime>;

/// Readings over several rounds, added up.
#[derive(Default)]
pub struct Cost {
    used: ByThread,
    busy: f64,
    wall: f64,
    events: u64,
}

/// A reading before a round.
pub struct Reading {
    parts: Vec<(&'static str, u32)>,
    used: ByThread,
    busy: f64,
    at: u64,
}

fn read(parts: &[(&'static str, u32)]) -> ByThread {
    let threads = |&(part, pid): &(&'static str, u32)| {
        procfs::threads(pid).into_iter().map(move |(thread, used)| ((part, thread), used))
    };
    let mut by_thread = ByThread::new();
    // A part may have several processes.
    for (key, used) in parts.iter().flat_map(threads) {
        let sum = by_thread.entry(key).or_default();
        *sum = sum.plus(used);
    }
    by_thread
}

impl Reading {
    /// Before a round, of these processes.
    pub fn before(parts: &[(&'static str, u32)]) -> Self {
        Self { parts: parts.to_vec(), used: read(parts), busy: procfs::machine_busy(), at: now() }
    }
}

impl Cost {
    /// After the round that the reading was made before, while its processes are still there.
    pub fn after(&mut self, before: &Reading, events: u64) {
        for (key, used) in read(&before.parts) {
            let earlier = before.used.get(&key).copied().unwrap_or_default();
            let sum = self.used.entry(key).or_default();
            *sum = sum.plus(used.since(earlier));
        }
        self.busy += procfs::machine_busy() - before.busy;
        self.wall += seconds(now() - before.at);
        self.events += events;
    }

    /// The table, unless nothing is known.
    pub fn table(&self, through: &str, cores: f64) -> Option<CpuTable> {
        let known: f64 = self.used.values().map(|used| used.total()).sum();
        if known == 0.0 || self.events == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "events of one run")]
        let each = |seconds: f64| seconds * 1e6 / self.events as f64;
        let mut parts: BTreeMap<&str, f64> = BTreeMap::new();
        for ((part, _), used) in &self.used {
            *parts.entry(*part).or_default() += used.total();
        }
        let mut used: Vec<_> = self.used.iter().filter(|(_, used)| used.total() > 0.0).collect();
        used.sort_by(|((a, _), x), ((b, _), y)| {
            parts[b].total_cmp(&parts[a]).then(a.cmp(b)).then(y.total().total_cmp(&x.total()))
        });
        let line = |((part, thread), used): (&(&'static str, String), &CpuTime)| CpuLine {
            part: (*part).to_owned(),
            thread: thread.clone(),
            user: each(used.user),
            system: each(used.system),
        };
        let others = self.busy - known;
        Some(CpuTable {
            through: through.to_owned(),
            events: self.events,
            lines: used.into_iter().map(line).collect(),
            others: each(others),
            idle: each(cores * self.wall - known - others),
            cores,
            wall: each(self.wall),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_adds_up() {
        let used = |user, system| CpuTime { user, system };
        let cost = Cost {
            used: [
                (("sink", "bench".to_owned()), used(1.0, 0.5)),
                (("postcall", "writer".to_owned()), used(0.5, 0.25)),
                (("postcall", "worker".to_owned()), used(2.0, 1.0)),
                (("postcall", "idler".to_owned()), used(0.0, 0.0)),
            ]
            .into(),
            busy: 6.0,
            wall: 4.0,
            events: 100_000,
        };
        let table = cost.table("postcall", 2.0).unwrap();
        let names: Vec<&str> = table.lines.iter().map(|line| line.thread.as_str()).collect();
        assert_eq!(names, ["worker", "writer", "bench"], "the largest part first, its largest thread first");
        let known: f64 = table.lines.iter().map(|line| line.user + line.system).sum();
        assert!((known - 52.5).abs() < 1e-9);
        assert!((table.others - 7.5).abs() < 1e-9);
        assert!((known + table.others + table.idle - table.cores * table.wall).abs() < 1e-9);
    }

    #[test]
    fn without_a_reading_there_is_no_table() {
        assert_eq!(Cost::default().table("postcall", 2.0), None);
    }
}
