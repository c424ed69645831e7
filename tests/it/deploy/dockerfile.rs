//! The Dockerfile: what it copies is there and is enough to build from, and what it runs is what there is to run.

use std::path::PathBuf;

use super::*;

/// Its instructions, each with the rest of its line; lines that go on are joined.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.to_owned()));
    lines.map(|line| split(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// What stands after each instruction of a name.
fn all(name: &str) -> Vec<String> {
    instructions().into_iter().filter(|(word, _)| word == name).map(|(_, rest)| rest).collect()
}

/// What the first stage copies from the repository.
fn copied() -> Vec<String> {
    let sources = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        words[..words.len() - 1].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    all("COPY").iter().filter(|line| !line.starts_with("--from")).flat_map(sources).collect()
}

fn list(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[test]
fn only_known_instructions_in_two_stages() {
    let known =
        ["FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"];
    for (word, _) in instructions() {
        assert!(known.contains(&word.as_str()), "{word}");
    }
    let [build, last] = &all("FROM")[..] else { panic!("two stages") };
    let manifest = read("Cargo.toml");
    let oldest = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(build, &format!("rust:{oldest}-slim-bookworm AS build"), "the Rust that Cargo.toml names");
    assert_eq!(last, "debian:bookworm-slim");
    let user = all("USER").remove(0);
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    let build = all("RUN").into_iter().find(|line| line.contains("cargo build")).unwrap();
    for part in ["--release", "--locked", "--bin postcall", " target/release/postcall"] {
        assert!(build.contains(part), "{part}");
    }
}

#[test]
fn it_runs_what_there_is_to_run() {
    let program = list(&all("ENTRYPOINT")[0]);
    let installed = all("COPY").into_iter().find(|line| line.starts_with("--from=build ")).unwrap();
    assert!(installed.ends_with(&format!("/usr/local/bin/{}", program[0])));
    let arguments = list(&all("CMD")[0]);
    let (flags, values) = (arguments[1..].iter().step_by(2), arguments[2..].iter().step_by(2));
    let mut joined = vec![arguments[0].clone()];
    joined.extend(flags.zip(values).map(|(flag, value)| format!("{flag}={value}")));
    let port = check_arguments(&joined);
    assert_eq!(all("EXPOSE"), [port.to_string()]);
    assert_eq!(all("VOLUME"), [DATA]);
    let health = all("HEALTHCHECK").remove(0);
    let check = list(&health[health.find('[').unwrap()..]);
    assert_eq!(check.last().unwrap(), &format!("http://127.0.0.1:{port}/healthz"));
    assert!(all("RUN").iter().any(|line| line.contains("apt-get install") && line.contains(&check[0])));
}

/// Cargo can make sense of what is copied, though nothing else of the repository is there.
#[test]
fn what_is_copied_is_enough_for_cargo() {
    let context = tempfile::tempdir().unwrap();
    let ignored = read(".dockerignore");
    for source in copied() {
        assert!(!ignored.lines().any(|line| line == source), ".dockerignore hides {source}");
        let mut open = vec![PathBuf::from(&source)];
        while let Some(path) = open.pop() {
            let (from, to) = (root().join(&path), context.path().join(&path));
            if from.is_dir() {
                fs::create_dir_all(&to).unwrap();
                open.extend(fs::read_dir(&from).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            } else {
                fs::copy(&from, &to).unwrap_or_else(|error| panic!("{source}: {error}"));
            }
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--no-deps", "--format-version=1"]);
    let output = cargo.current_dir(context.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let known: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |package: &&serde_json::Value| package["name"] == "postcall";
    let package = known["packages"].as_array().unwrap().iter().find(of).expect("the package");
    let targets = package["targets"].as_array().unwrap();
    let binary =
        targets.iter().find(|target| target["kind"] == serde_json::json!(["bin"])).expect("the binary");
    assert_eq!(binary["name"], "postcall");
    assert!(context.path().join("src/main.rs").is_file());
}
