//! Who removes a cluster: a shell that waits for the end of a pipe which only this process holds. The pipe ends when
//! the cluster is dropped, and just as well when this process exits, panics or is killed.
//! Refuses to know what is in the directory, but for where the server notes its process id.

use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use crate::programs::Programs;

/// The note of the process id may be stale: the server is only told to stop if that is the process which works in this
/// directory. Somebody may have suspended it.
const SCRIPT: &str = r#"
cat > /dev/null
pid=$(head -n 1 "$2/data/postmaster.pid" 2> /dev/null)
if [ -n "$pid" ] && { [ ! -d /proc/self ] || [ "$(readlink "/proc/$pid/cwd")" = "$2/data" ]; }; then
  kill -CONT "$pid"
  "$1" stop --pgdata "$2/data" --mode immediate --timeout 30
fi
for again in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf "$2" && exit
  sleep 0.5
done
"#;

/// The shell, and our end of the pipe.
#[derive(Debug)]
pub struct Keeper {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Keeper {
    /// Begins to keep a directory whose server will have its data in `data` below it.
    pub fn start(programs: &Programs, home: &Path) -> Result<Self, String> {
        use std::os::unix::process::CommandExt;
        let mut command = programs.servers("/bin/sh", Path::new("/"));
        command.args(["-c", SCRIPT, "keeper"]).arg(programs.path("pg_ctl")).arg(home);
        // A process group of its own: an interrupt from the keyboard is not meant for it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut shell = command.spawn().map_err(|error| format!("cannot start sh: {error}"))?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
