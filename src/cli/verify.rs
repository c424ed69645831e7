//! `postcall verify`: checks a captured request against a secret and says why it fails. Reads files and prints; what
//! is wrong is `diagnosis`'s to find.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::arguments::dialect_name;
use super::diagnosis::{Diagnosis, diagnose};
use super::exit::NO;
use super::terminal::say;
use crate::clock::{Clock, System};
use crate::dialect::{self, Arrived, Proof, Work};
use crate::model::{DialectName, Time};

/// Check a captured request against a secret, and say why it fails
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// Which system's rules: voicegenie, cllr, dialgen, aloro, air or standard
    #[arg(long, value_name = "DIALECT", value_parser = dialect_name)]
    dialect: DialectName,
    /// The signing secret; for air the bearer token
    #[arg(long, alias = "bearer", value_name = "SECRET", allow_hyphen_values = true)]
    secret: Option<String>,
    /// The body as it came, byte for byte; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// The headers as `curl -i` prints them, a line each; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// One header; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// When it came, in RFC 3339; now unless said
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when the request is proven, with 1 when it is not.
///
/// # Errors
/// A sentence when a file cannot be read or an option makes no sense.
pub fn run(verify: &Verify) -> Result<ExitCode, String> {
    let diagnosis = check(verify)?;
    say(&if verify.json { json(&diagnosis) } else { text(&diagnosis) })?;
    Ok(if diagnosis.ok { ExitCode::SUCCESS } else { NO })
}

fn check(verify: &Verify) -> Result<Diagnosis, String> {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    if is_stdin(&verify.body) && verify.headers.as_deref().is_some_and(is_stdin) {
        return Err("standard input can be the body or the headers, not both; put one into a file".to_owned());
    }
    let proof = dialect::get(verify.dialect).proof();
    let secret = match &verify.secret {
        Some(secret) => secret.as_bytes(),
        None if proof == Proof::Unsigned => b"",
        None => return Err(format!("{} needs a secret to check with; give --secret", verify.dialect)),
    };
    let now = match &verify.now {
        None => System.now(),
        Some(text) => Time::parse(text)
            .ok_or_else(|| format!("--now {text} is no time; write it like 2025-01-20T10:00:00Z"))?,
    };
    let body = read(&verify.body)?;
    let mut headers = HeaderMap::new();
    if let Some(path) = &verify.headers {
        for line in header_lines(&String::from_utf8_lossy(&read(path)?)) {
            put(&mut headers, line)?;
        }
    }
    for line in &verify.header {
        put(&mut headers, line)?;
    }
    Ok(diagnose(verify.dialect, &Arrived::new(&headers, &body, &Work::default()), secret, now))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let done = if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    done.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(bytes)
}

/// The header lines of what `curl -i` or `curl -v` printed, or of a raw request: without the first line, without the
/// arrows, up to the empty line.
fn header_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.strip_prefix("> ").or_else(|| line.strip_prefix("< ")).unwrap_or(line))
        .map(|line| line.trim_end_matches(['\r', '\n']))
        .take_while(|line| !matches!(*line, "" | ">" | "<"))
        .enumerate()
        .filter(|(at, line)| !(*at == 0 && (line.starts_with("HTTP/") || line.contains(" HTTP/"))))
        .map(|(_, line)| line)
}

fn put(headers: &mut HeaderMap, line: &str) -> Result<(), String> {
    let wrong = || format!("`{line}` is no header; write it as `Name: value`");
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    headers.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| wrong())?);
    Ok(())
}

fn text(diagnosis: &Diagnosis) -> String {
    let verdict = if diagnosis.ok { "ok" } else { "NOT OK" };
    let notes: String = diagnosis.notes.iter().map(|note| format!("  - {note}\n")).collect();
    format!("{verdict}: {}\n{notes}", diagnosis.why)
}

fn json(diagnosis: &Diagnosis) -> String {
    serde_json::to_string(diagnosis).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_from_whatever_was_captured() {
        for captured in [
            "A: 1\nB: x:y\n",
            "POST /in/src_1 HTTP/1.1\r\nA: 1\r\nB: x:y\r\n\r\n{\"C: 2\"}",
            "HTTP/2 200\nA: 1\nB: x:y\n\nC: 2",
            "> POST / HTTP/1.1\n> A: 1\n> B: x:y\n>\n",
        ] {
            let lines: Vec<&str> = header_lines(captured).collect();
            assert_eq!(lines, ["A: 1", "B: x:y"], "{captured:?}");
        }
        let mut headers = HeaderMap::new();
        put(&mut headers, "X-Aloro-Timestamp:2024-03-15T14:30:00Z ").unwrap();
        assert_eq!(headers["x-aloro-timestamp"], "2024-03-15T14:30:00Z");
        assert!(put(&mut headers, "no header").unwrap_err().contains("Name: value"));
    }
}
