//! Files that postcall makes are for their owner alone, whatever the umask; and secrets go to a terminal or into such
//! files, never into what may be a log. The real program, as an operator runs it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use crate::harness::Client;
use crate::home::Home;

/// A program under the umask of most machines, that anybody may read what is made.
fn under_a_wide_umask(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0022; exec \"$0\" \"$@\"", program]);
    command.env_remove("POSTCALL_ADMIN_KEY").env("POSTCALL_LOG", "warn").kill_on_drop(true);
    command
}

struct Server {
    child: Child,
    address: SocketAddr,
    /// All that it printed before it listened.
    said: String,
    log: ChildStderr,
}

impl Server {
    async fn start(home: &Home) -> Self {
        let mut child = under_a_wide_umask(env!("CARGO_BIN_EXE_postcall"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(home.arguments())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut said = String::new();
        let address = loop {
            let line =
                lines.next_line().await.expect("its output is text").expect("it says where it listens");
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse().expect("an address");
            }
            said += &format!("{line}\n");
        };
        let log = child.stderr.take().expect("it is piped");
        Self { child, address, said, log }
    }

    /// Ends it with SIGKILL; gives its log.
    async fn kill(mut self) -> String {
        self.child.kill().await.expect("SIGKILL is sent");
        let mut log = String::new();
        self.log.read_to_string(&mut log).await.expect("the log is text");
        log
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The files of a data directory with their modes.
fn modes(directory: &Path) -> Vec<(String, u32)> {
    let mut found: Vec<(String, u32)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), mode(&path)))
        .collect();
    found.sort();
    found
}

#[track_caller]
fn expect_private(home: &Home) -> Vec<String> {
    assert_eq!(mode(&home.data()), 0o700);
    let modes = modes(&home.data());
    let wide: Vec<_> = modes.iter().filter(|(_, mode)| *mode != 0o600).collect();
    assert!(wide.is_empty(), "{wide:?}");
    modes.into_iter().map(|(name, _)| name).collect()
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

async fn bring_a_call(api: &Client) {
    let source = api.source(json!({ "name": "calls", "dialect": "cllr" })).await;
    let path =
        source["url"].as_str().unwrap().split_once("/in/").map(|(_, rest)| format!("/in/{rest}")).unwrap();
    let body: Value =
        json!({ "callId": "c-1", "callerDetails": { "name": "Jo", "phoneNumber": "+15550100" } });
    api.post(&path, body).await.expect(200);
}

#[tokio::test]
async fn every_file_is_for_its_owner_alone_in_use_and_after_a_kill() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let key = read(home.data().join("admin.key"));
    bring_a_call(&Client::new(server.address, &key)).await;
    let names = expect_private(&home);
    for name in ["master.key", "admin.key", "dialer.secret"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }

    // What leaves by the command line is what people said, whether or not secrets are in it.
    for (name, secrets, before) in [("a", "clear", None), ("b", "none", None), ("c", "clear", Some(0o644))] {
        let file = home.beside().join(name);
        if let Some(mode) = before {
            std::fs::write(&file, "an older and much longer export ".repeat(10_000)).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        }
        let done = under_a_wide_umask(env!("CARGO_BIN_EXE_postcall"))
            .args(["export", "--secrets", secrets, "--output"])
            .arg(&file)
            .env("POSTCALL_URL", format!("http://{}", server.address))
            .env("POSTCALL_KEY", &key)
            .output()
            .await
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(mode(&file), 0o600, "{secrets}");
        assert!(read(file).lines().all(|line| line.starts_with('{')), "nothing is left of what was there");
    }

    server.kill().await;
    expect_private(&home);

    // What an older postcall, or a copy, left open to all is closed, and the log says that it was open.
    let names: Vec<String> = modes(&home.data()).into_iter().map(|(name, _)| name).collect();
    for name in &names {
        let path = home.data().join(name);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }
    let server = Server::start(&home).await;
    expect_private(&home);
    assert_eq!(server.said, "", "nothing is shown again");
    let log = server.kill().await;
    for name in ["master.key", "admin.key", "dialer.secret"] {
        let line = log.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains("0644")), "{name}: {log}");
    }
    expect_private(&home);
}

#[tokio::test]
async fn the_first_start_prints_no_secret_into_what_may_be_a_log() {
    let home = Home::new();
    let server = Server::start(&home).await;
    let (key, secret) = (read(home.data().join("admin.key")), read(home.data().join("dialer.secret")));
    for file in ["admin.key", "dialer.secret"] {
        assert!(server.said.contains(home.data().join(file).to_str().unwrap()), "{}", server.said);
    }
    let api = Client::new(server.address, &key);
    assert_eq!(api.get("/v1/account").await.status, 200, "the file holds the key");
    let body =
        json!({ "call_uuid": "c-1", "event": "call_ended", "timestamp": "2024-01-16T10:35:00Z" }).to_string();
    let signature = crate::harness::hmac_hex(&secret, body.as_bytes());
    let headers = [("x-webhook-signature", signature.as_str())];
    let heard = api.send(http::Method::POST, "/aiDialerCallbackWithData", &headers, body).await.unwrap();
    assert_eq!(heard.status, 200, "the file holds the secret");
    let said = server.said.clone();
    let log = server.kill().await;
    for hidden in [&key, &secret] {
        assert!(!said.contains(hidden.as_str()) && !log.contains(hidden.as_str()), "{said}{log}");
    }
}

/// What the demo says to try next holds for as long as it runs, and may be read in a log meanwhile.
#[tokio::test]
async fn the_demo_prints_no_secret_either() {
    let mut child = under_a_wide_umask(env!("CARGO_BIN_EXE_postcall"))
        .args(["demo", "--calls", "1", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut said = String::new();
    while !said.contains("The API is described at") {
        said += &lines.next_line().await.expect("its output is text").expect("it invites to go on");
        said.push('\n');
    }
    let directory =
        said.split_once("keeps its data in ").unwrap().1.lines().next().unwrap().trim_end_matches('.');
    for file in ["admin.key", "vendor.secret"] {
        let path = Path::new(directory).join(file);
        assert!(said.contains(path.to_str().unwrap()), "{said}");
        assert_eq!(mode(&path), 0o600);
        assert!(!said.contains(&read(path)), "{said}");
    }
    let id = child.id().expect("it runs").to_string();
    Command::new("kill").args(["-TERM", &id]).status().await.expect("kill is there");
    child.wait().await.expect("it ends");
    assert!(!Path::new(directory).exists(), "it takes its data along");
}

/// `script` (util-linux) gives the program a terminal of its own.
#[tokio::test]
async fn the_first_start_prints_its_secrets_on_a_terminal() {
    let home = Home::new();
    let mut command = format!("{} serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_postcall"));
    for argument in home.arguments() {
        command += &format!(" '{}'", argument.to_str().unwrap());
    }
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env_remove("POSTCALL_ADMIN_KEY")
        .env("POSTCALL_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script is a part of util-linux");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.expect("its output is text") {
        if line.contains("listening on http://") {
            break;
        }
        said += &format!("{line}\n");
    }
    // Its end closes the terminal, and that ends the program.
    child.kill().await.expect("SIGKILL is sent");
    for file in ["admin.key", "dialer.secret"] {
        let path = home.data().join(file);
        assert!(said.contains(&read(path.clone())), "{file}: {said}");
        assert_eq!(mode(&path), 0o600);
    }
}
