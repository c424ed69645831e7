//! The machine that figures are of, as far as it tells. Refuses to know its name and where it stands.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine, and the postcall that was measured on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that programs may use.
    pub cores: usize,
    /// What they are.
    pub cpu: String,
    /// Memory in 10^9 bytes.
    pub memory_gb: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that the data lay on.
    pub file_system: String,
    /// What `postcall --version` says.
    pub postcall: String,
}

impl Machine {
    /// This one; `data` is where the data will lie.
    pub fn this(postcall: &Path, data: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let version = Command::new(postcall).arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            memory_gb: memory(&read("/proc/meminfo")).unwrap_or_default(),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned())
                .filter(|release| !release.is_empty())
                .unwrap_or_else(unknown),
            file_system: file_system(&read("/proc/mounts"), data).unwrap_or_else(unknown),
            postcall: version.unwrap_or_else(|_| unknown()),
        }
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        format!(
            "{} cores ({}), {:.0} GB of memory, Linux {}, data on {}",
            self.cores, self.cpu, self.memory_gb, self.kernel, self.file_system
        )
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start().strip_prefix(':')?.trim().to_owned())
}

fn memory(text: &str) -> Option<f64> {
    let kibibytes: f64 = field(text, "MemTotal")?.strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0 / 1e9)
}

/// The type of the mount whose path is the longest that `path` begins with.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holds = mounts.filter(|(mount, _)| path.starts_with(mount));
    holds.max_by_key(|(mount, _)| mount.len()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_holds_a_path() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /nowhere tmpfs rw 0 0\n/dev/b /nowhere/deep xfs rw 0 0\n";
        let kind = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/else/where"), "ext4");
        assert_eq!(kind("/nowhere/x"), "tmpfs");
        assert_eq!(kind("/nowhere/deep/er"), "xfs");
        assert_eq!(kind("/nowhere/deeper"), "tmpfs");
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(field("a\t: b\nmodel name\t: Some CPU\n", "model name").as_deref(), Some("Some CPU"));
        assert_eq!(memory("MemTotal:       1000000 kB\n"), Some(1.024));
    }
}
