//! A small file system in memory, which a node has for itself and others can fill to the last byte. It is mounted in a
//! namespace of its own, so nobody else sees it and nothing of it is left. Refuses to know what is on it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// The file system. It is gone when this is dropped.
pub struct Volume {
    home: TempDir,
    /// A process in the namespace: it lasts as long as this one does.
    holder: Child,
}

impl Volume {
    /// One of so many bytes.
    pub async fn of(bytes: u64) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(home.path().join("disk")).expect("a directory");
        let mount =
            format!("mount -t tmpfs -o size={bytes},mode=700 volume \"$0\" && echo ready && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount])
            .arg(home.path().join("disk"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("unshare (util-linux) is there");
        let mut said = [0; 6];
        let ready = holder.stdout.as_mut().expect("it is piped").read_exact(&mut said).await;
        ready.expect("a mount in a user namespace; a container needs leave for that (--privileged)");
        Self { home, holder }
    }

    /// Where it is for who is in its namespace.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    /// What runs a program in its namespace.
    pub fn runner(&self) -> Vec<String> {
        let holder = self.pid().to_string();
        ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", &holder]
            .map(str::to_owned)
            .to_vec()
    }

    /// Has somebody else take all but so many bytes.
    pub fn fill(&self, all_but: u64) {
        let mut others = self.open("others");
        while self.available() >= all_but + 4096 {
            others.write_all(&[7; 4096]).expect("there is room");
        }
        while all_but == 0 && others.write_all(&[7]).is_ok() {}
    }

    /// What is left, in bytes.
    pub fn available(&self) -> u64 {
        let left = rustix::fs::statvfs(self.seen_from_outside()).expect("it is mounted");
        left.f_bavail * left.f_frsize
    }

    fn open(&self, name: &str) -> File {
        let path = self.seen_from_outside().join(name);
        File::options().create(true).append(true).open(path).expect("a file")
    }

    fn seen_from_outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(self.path().strip_prefix("/").unwrap_or(Path::new("")))
    }

    fn pid(&self) -> u32 {
        self.holder.id().expect("it lives")
    }
}
