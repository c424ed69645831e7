//! `postcall export`: writes an account as lines of JSON, and goes on where a stream broke off. Refuses to know what is in
//! them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::client::Server;
use super::progress::Progress;
use super::terminal::{remark, say};
use crate::store::private_files;

/// How often a stream that broke off is taken up again without a line in between.
const MOST_BREAKS: u32 = 5;
/// How the line after which a stream can go on begins.
const CURSOR: &[u8] = b"{\"kind\":\"cursor\",\"cursor\":\"";

/// What of secrets goes along.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Secrets {
    /// Nothing
    None,
    /// As they lie in the store: they open beside the same master.key
    Sealed,
    /// As they are: whoever has the file has them
    Clear,
}

/// Write everything that an account keeps as lines of JSON
#[derive(Debug, clap::Args)]
pub struct Export {
    #[command(flatten)]
    server: Server,
    /// Where to; left out, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Whether secrets go along; for admin keys
    #[arg(long, value_enum, default_value = "none")]
    secrets: Secrets,
    /// Another account, for admin keys: acc_...
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Print what was written as JSON; needs --output
    #[arg(long, requires = "output")]
    json: bool,
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses, or the file cannot be written.
pub async fn run(export: Export) -> Result<ExitCode, String> {
    let client = export.server.client()?;
    let mut out: Box<dyn Write> = match &export.output {
        Some(path) => {
            let file = open(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let secrets = match export.secrets {
        Secrets::None => "none",
        Secrets::Sealed => "sealed",
        Secrets::Clear => "clear",
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("secrets", secrets);
    if let Some(account) = &export.account {
        query.append_pair("account_id", account);
    }
    let base = format!("/v1/export?{}", query.finish());
    let (mut cursor, mut lines, mut breaks, mut has_ended) = (None::<String>, 0u64, 0, false);
    // Lines since the last cursor come again when a stream breaks off there.
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut progress: Option<Progress> = None;
    while !has_ended {
        let path = cursor.as_ref().map_or_else(|| base.clone(), |cursor| format!("{base}&cursor={cursor}"));
        held.clear();
        let read = client.lines(&path, |line| {
            let ends = line.starts_with(b"{\"kind\":\"end\"");
            if progress.is_none() {
                progress = Some(Progress::new("lines", expected(line)));
            }
            held.push(line.to_vec());
            if !ends && !line.starts_with(CURSOR) {
                return Ok(());
            }
            if let Some(place) = line.strip_prefix(CURSOR).and_then(|rest| rest.strip_suffix(b"\"}")) {
                cursor = Some(String::from_utf8_lossy(place).into_owned());
            }
            has_ended = ends;
            breaks = 0;
            lines += held.len() as u64;
            for line in held.drain(..) {
                out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(unwritten)?;
            }
            if let Some(progress) = &progress {
                progress.at(lines);
            }
            Ok(())
        });
        if let Err(why) = read.await {
            breaks += 1;
            if cursor.is_none() || breaks > MOST_BREAKS {
                return Err(why);
            }
        } else if !has_ended {
            return Err("the export ended without its last line; try again".to_owned());
        }
    }
    out.flush().map_err(unwritten)?;
    if let Some(progress) = progress {
        progress.finish();
    }
    if let Some(path) = &export.output {
        let said = match export.json {
            true => format!("{}\n", json!({ "lines": lines, "output": path })),
            false => format!("{lines} lines in {}\n", path.display()),
        };
        say(&said)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the file of an export, which holds what people said whether or not secrets are in it: for its owner alone. What is
/// no file, such as a pipe, stays as it is.
fn open(path: &Path) -> std::io::Result<File> {
    let file = private_files::create(path)?;
    if file.metadata()?.is_file()
        && let Err(error) = private_files::narrow(path)
    {
        remark(&format!("  others may read {}: its mode cannot be changed ({error})", path.display()));
    }
    Ok(file)
}

fn unwritten(error: std::io::Error) -> String {
    format!("cannot write the export: {error}")
}

/// About how many lines there are with this first one and the last, by the numbers in it.
fn expected(first: &[u8]) -> u64 {
    let account: Value = serde_json::from_slice(first).unwrap_or_default();
    let records: u64 = ["position", "calls", "deliveries", "sources", "endpoints"]
        .iter()
        .filter_map(|field| account[field].as_u64())
        .sum();
    records + 2
}
