//! Clusters from outside: what they keep, who follows whom, and that nothing is left of them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster::{Cluster, FAST, Stop};

/// For what must happen; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(cluster: &Cluster) -> Result<String, String> {
    cluster.sql("postgres", "SELECT count(*) FROM kept")
}

#[test]
fn it_is_there_until_it_is_dropped() {
    let cluster = Cluster::start(FAST).unwrap();
    cluster.sql("postgres", "CREATE TABLE kept AS SELECT generate_series(1, 10)").unwrap();
    let port = cluster.port();
    cluster.restart(Stop::Immediate).unwrap();
    assert_eq!((count(&cluster).as_deref(), cluster.port()), (Ok("10"), port));
    cluster.stop(Stop::Fast).unwrap();
    assert!(count(&cluster).is_err() && cluster.pid().is_err());
    cluster.resume().unwrap();
    assert_eq!(count(&cluster).as_deref(), Ok("10"));
    cluster.set("work_mem", "5MB").unwrap();
    until("the setting counts", || cluster.sql("postgres", "SHOW work_mem").as_deref() == Ok("5MB"));

    let stranger = cluster.url("postgres").replace("postgres:", "postgres:not");
    assert!(cluster::sql(&stranger, "SELECT 1").is_err(), "it has a password");
    let (data, pid) = (cluster.data(), cluster.pid().unwrap());
    drop(cluster);
    assert!(!data.parent().unwrap().exists());
    until("the server goes", || !is_running(pid));
}

#[test]
fn a_standby_takes_over() {
    let primary = Cluster::start(FAST).unwrap();
    primary.sql("postgres", "CREATE TABLE kept (it INT)").unwrap();
    let standby = primary.standby("second", FAST).unwrap();
    primary.set("synchronous_standby_names", "second").unwrap();
    let state = "SELECT sync_state FROM pg_stat_replication";
    until("the standby is synchronous", || primary.sql("postgres", state).as_deref() == Ok("sync"));
    primary.sql("postgres", "INSERT INTO kept VALUES (1)").unwrap();
    primary.stop(Stop::Immediate).unwrap();
    assert!(standby.sql("postgres", "INSERT INTO kept VALUES (2)").is_err(), "it only follows");
    standby.promote().unwrap();
    // It waits for no standby of its own: that was set when the copy was made already.
    standby.sql("postgres", "INSERT INTO kept VALUES (2)").unwrap();
    assert_eq!(count(&standby).as_deref(), Ok("2"));
}

/// Nothing is left of a cluster whose process was killed, with a server that was suspended at that.
#[test]
fn it_goes_with_its_process() {
    for suspended in [false, true] {
        let mut process = Command::new(env!("CARGO_BIN_EXE_cluster"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let data = PathBuf::from(cluster::sql(url.trim(), "SHOW data_directory").unwrap());
        let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
        let pid: u32 = text.lines().next().unwrap().parse().unwrap();
        assert!(is_running(pid));
        if suspended {
            assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
        }
        process.kill().unwrap();
        process.wait().unwrap();
        until("the directory goes", || !data.parent().unwrap().exists());
        until("the server goes", || !is_running(pid));
    }
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
