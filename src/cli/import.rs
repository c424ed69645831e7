//! `postcall import`: brings the lines of an export to a server, a part at a time, so that a connection that breaks costs a
//! part and no more. Refuses to know what is in them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::client::{Client, Refusal, Server};
use super::exit::NO;
use super::progress::Progress;
use super::table;
use super::terminal::say;

/// Bytes of one part, unless a single line is longer.
const PART: usize = 1 << 20;
/// Wrong lines that are shown.
const MOST_SHOWN: usize = 20;

/// Bring the lines of an export into an account that has recorded nothing yet
#[derive(Debug, clap::Args)]
pub struct Import {
    #[command(flatten)]
    server: Server,
    /// The export; - is standard input
    file: PathBuf,
    /// Leave endpoints active: what is pending is sent from here once all is in
    #[arg(long)]
    deliver: bool,
    /// Another account, for admin keys: acc_...
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What became of all parts.
#[derive(Default)]
struct Sum {
    added: Map<String, Value>,
    unchanged: u64,
    ended: bool,
    wrong: Vec<Value>,
}

/// Exits with 0 when every line is in, with 1 when some were wrong.
///
/// # Errors
/// A sentence when the file cannot be read, or the server does not answer or refuses the account.
pub async fn run(import: Import) -> Result<ExitCode, String> {
    let client = import.server.client()?;
    let is_stdin = import.file.as_os_str() == "-";
    let unread = |error: std::io::Error| format!("cannot read {}: {error}", import.file.display());
    let (mut input, size): (Box<dyn BufRead>, u64) = if is_stdin {
        (Box::new(BufReader::new(std::io::stdin())), 0)
    } else {
        let file = File::open(&import.file).map_err(unread)?;
        let size = file.metadata().map_err(unread)?.len();
        (Box::new(BufReader::new(file)), size)
    };
    let progress = Progress::new("bytes", size);
    let (mut sum, mut done, mut number) = (Sum::default(), 0, 1);
    loop {
        let (mut part, mut lines) = (Vec::new(), 0u64);
        while part.len() < PART && input.read_until(b'\n', &mut part).map_err(unread)? > 0 {
            lines += 1;
        }
        if lines == 0 {
            break;
        }
        done += part.len() as u64;
        send(&client, &import, number, part, &mut sum).await?;
        number += lines;
        progress.at(done);
    }
    progress.finish();
    say(&if import.json { document(&sum) } else { summary(&sum) })?;
    Ok(if sum.wrong.is_empty() { ExitCode::SUCCESS } else { NO })
}

async fn send(
    client: &Client,
    import: &Import,
    first: u64,
    part: Vec<u8>,
    sum: &mut Sum,
) -> Result<(), String> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("first_line", &first.to_string());
    query.append_pair("deliver", if import.deliver { "true" } else { "false" });
    // While something is wrong, the rest may come later.
    query.append_pair("may_end", if sum.wrong.is_empty() { "true" } else { "false" });
    if let Some(account) = &import.account {
        query.append_pair("account_id", account);
    }
    match client.bring(&format!("/v1/import?{}", query.finish()), part).await {
        Ok(taken) => {
            for (kind, count) in taken["added"].as_object().into_iter().flatten() {
                let before = sum.added.get(kind).and_then(Value::as_u64).unwrap_or(0);
                sum.added.insert(kind.clone(), json!(before + count.as_u64().unwrap_or(0)));
            }
            sum.unchanged += taken["unchanged"].as_u64().unwrap_or(0);
            sum.ended |= taken["ended"] == true;
            Ok(())
        }
        Err(Refusal { document, .. }) if document["status"] == 422 && document["errors"].is_array() => {
            sum.wrong.extend(document["errors"].as_array().cloned().unwrap_or_default());
            Ok(())
        }
        Err(Refusal { said, .. }) => Err(said),
    }
}

fn document(sum: &Sum) -> String {
    let Sum { added, unchanged, ended, wrong } = sum;
    format!("{}\n", json!({ "added": added, "unchanged": unchanged, "ended": ended, "wrong": wrong }))
}

fn summary(sum: &Sum) -> String {
    let mut table = table::new(&["lines", "count"], 1);
    for (kind, count) in &sum.added {
        table.add_row([kind.clone(), count.to_string()]);
    }
    table.add_row(["there already".to_owned(), sum.unchanged.to_string()]);
    let mut out = table::text(&table);
    for wrong in sum.wrong.iter().take(MOST_SHOWN) {
        let (line, detail) = (&wrong["field"], &wrong["detail"]);
        out.push_str(&format!("  {}: {}\n", line.as_str().unwrap_or("-"), detail.as_str().unwrap_or("-")));
    }
    if sum.wrong.len() > MOST_SHOWN {
        out.push_str(&format!("  and {} more wrong lines\n", sum.wrong.len() - MOST_SHOWN));
    }
    out.push_str(match (sum.ended, sum.wrong.is_empty()) {
        (true, _) => "The account goes on from here.\n",
        (false, true) => "The end is still to come: the rest may be sent at any time.\n",
        (false, false) => "Wrong lines were left out; correct them and send the file again.\n",
    });
    out
}
