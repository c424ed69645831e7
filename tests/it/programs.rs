//! Receivers in processes of their own: what people paste from `examples/`, and what they wrote after the seeds
//! (`tests/receivers/`). Knows how to start them; refuses to know what they are sent.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::harness::Client;

/// What every hex-signing route expects.
pub const SECRET: &str = "what only the two of us know: \u{1f511}";
/// What `air` routes expect, and what the URL of `cllr` routes ends with.
pub const TOKEN: &str = "a-token-of-more-than-16-characters";
/// What `standard` routes expect.
pub const STANDARD_SECRET: &str = "whsec_cG9zdGNhbGw6IGEgc2VjcmV0IG9mIHRoZSB0ZXN0cw==";

const REMEDY: &str = "`cargo xtask test` installs what the tests need";

/// A receiver that is running. It dies with this value.
pub struct Program {
    pub name: &'static str,
    pub base: String,
    client: Client,
    output: Arc<Mutex<String>>,
    _child: Child,
}

impl Program {
    /// The Express example.
    pub async fn express() -> Self {
        Self::start("express", with_secrets(node("examples/express", "server.mjs"))).await
    }

    /// The Flask example, in the environment that `cargo xtask test` makes.
    pub async fn flask() -> Self {
        let python = root().join("target/python/bin/python");
        assert!(python.exists(), "the Flask receiver needs {}: {REMEDY}", python.display());
        let mut command = Command::new(python);
        command.arg(root().join("examples/flask/app.py"));
        Self::start("flask", with_secrets(command)).await
    }

    /// The axum example, which `cargo test` builds.
    pub async fn axum() -> Self {
        let test = std::env::current_exe().expect("this test is a file");
        let profile = test.ancestors().nth(2).expect("it is in the folder `deps` of a profile");
        let program = profile.join("examples/axum_receiver");
        let written_at = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
        let is_built = written_at(&program) >= written_at(&root().join("examples/axum_receiver.rs"));
        assert!(is_built, "this test needs the example: run `cargo build --example axum_receiver`");
        Self::start("axum", with_secrets(Command::new(program))).await
    }

    /// A receiver of `tests/receivers/`, which has one secret only.
    pub async fn of_a_seed(dialect: &'static str) -> Self {
        let mut command = node("tests/receivers", &format!("{dialect}.mjs"));
        command.env("WEBHOOK_SECRET", if dialect == "standard" { STANDARD_SECRET } else { SECRET });
        Self::start(dialect, command).await
    }

    async fn start(name: &'static str, mut command: Command) -> Self {
        command.env("PORT", "0").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot start ({error}): {REMEDY}"));
        let output = Arc::new(Mutex::new(String::new()));
        let errors = child.stderr.take().expect("it is piped");
        tokio::spawn(collect(BufReader::new(errors).lines(), Arc::clone(&output)));
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix("listening on ") {
                    return address.parse().ok();
                }
            }
            None
        };
        let address = tokio::time::timeout(Duration::from_secs(60), address).await.ok().flatten();
        let Some(address) = address else {
            let status = child.wait().await;
            panic!("{command:?} does not listen ({status:?}): {}", output.lock().unwrap());
        };
        tokio::spawn(collect(lines, Arc::clone(&output)));
        let client = Client::new(address, "");
        Self { name, base: client.base.clone(), client, output, _child: child }
    }

    /// What it has seen, in order: `{dialect, id, verified, duplicate}`.
    pub async fn seen(&self) -> Vec<Value> {
        let seen = self.client.get("/seen").await.expect(200).json();
        seen.as_array().expect("`/seen` is a list").clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} said:\n{}", self.name, self.output.lock().unwrap());
        }
    }
}

/// Reads to the end, so that the pipe never fills.
async fn collect<R: AsyncRead + Unpin>(
    mut lines: tokio::io::Lines<BufReader<R>>,
    output: Arc<Mutex<String>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        *output.lock().unwrap() += &format!("{line}\n");
    }
}

fn node(folder: &str, file: &str) -> Command {
    let folder = root().join(folder);
    assert!(folder.join("node_modules").exists(), "{} has no packages: {REMEDY}", folder.display());
    let mut command = Command::new("node");
    command.arg(folder.join(file));
    command
}

fn with_secrets(mut command: Command) -> Command {
    for variable in ["VOICEGENIE_SECRET", "DIALGEN_SECRET", "ALORO_SECRET"] {
        command.env(variable, SECRET);
    }
    command.env("AIR_TOKEN", TOKEN).env("CLLR_TOKEN", TOKEN).env("STANDARD_SECRET", STANDARD_SECRET);
    command
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
