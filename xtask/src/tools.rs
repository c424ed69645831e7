//! What the tests need beside Rust: PostgreSQL, Node and Python from Debian, and the packages of the receivers in `examples/` and
//! `tests/receivers/` from npm and PyPI, each through its ordinary client.
//! Refuses to know what the tests do with them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::{root, run};

/// Folders with a `package-lock.json`.
const NODE_FOLDERS: [&str; 2] = ["examples/express", "tests/receivers"];
const REQUIREMENTS: &str = "examples/flask/requirements.txt";
const VENV: &str = "target/python";

/// Makes sure of everything; quick when it is all there.
pub fn ensure() -> Result<(), String> {
    ensure_debian_packages()?;
    for folder in NODE_FOLDERS {
        ensure_node_modules(&root().join(folder))?;
    }
    ensure_venv()
}

fn ensure_debian_packages() -> Result<(), String> {
    let needed: [(&str, bool); 5] = [
        ("postgresql", cluster::check().is_ok()),
        ("nodejs", works("node", &["--version"])),
        ("npm", works("npm", &["--version"])),
        ("python3", works("python3", &["--version"])),
        ("python3-venv", python().is_some()),
    ];
    let missing: Vec<&str> = needed.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root() {
        return Err(format!("The tests need these Debian packages: apt-get install {names}"));
    }
    println!("installing {names}");
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing))?;
    cluster::check()?;
    if python().is_none() {
        return Err("python3-venv is installed and python3 still cannot make environments".to_owned());
    }
    Ok(())
}

/// A Python that can make environments: the first on the path, or else Debian's own.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| works(python, &["-c", "import ensurepip, venv"]))
}

/// `npm ci`, unless `node_modules` was made from the lock file as it is now.
fn ensure_node_modules(folder: &Path) -> Result<(), String> {
    let lock = read(&folder.join("package-lock.json"))?;
    let mark = folder.join("node_modules/.made-from-lock");
    if is_made_from(&mark, &lock) {
        return Ok(());
    }
    let arguments = ["ci", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"];
    run(Command::new("npm").args(arguments).arg(folder))?;
    write(&mark, &lock)
}

/// A virtual environment in `target/python` with what the Flask example requires.
fn ensure_venv() -> Result<(), String> {
    let venv = root().join(VENV);
    let requirements = read(&root().join(REQUIREMENTS))?;
    let mark = venv.join("made-from-requirements");
    if is_made_from(&mark, &requirements) {
        return Ok(());
    }
    let python = python().ok_or("python3 cannot make environments: install python3-venv")?;
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&venv))?;
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS];
    run(Command::new(venv.join("bin/python")).args(arguments))?;
    write(&mark, &requirements)
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let uid = Command::new("id").arg("-u").output();
    uid.is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}

/// Whether the mark says that an installation was finished from exactly this file. Times would not do: a checkout
/// makes every file new.
fn is_made_from(mark: &Path, source: &str) -> bool {
    fs::read_to_string(mark).is_ok_and(|made_from| made_from == source)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
