//! `postcall erase`: has a person erased by number and waits for the receipt. Refuses to know what is erased where.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, Server};
use super::progress::Progress;
use super::table;
use super::terminal::say;

/// Between two looks at a job that is under way.
const PAUSE: Duration = Duration::from_millis(200);
/// What a job does, in its order, as far as this command knows: only for the bar.
const ROOMS: [&str; 6] = ["events", "calls", "quarantine", "answers", "free space", "log"];

/// Erase a person by phone number everywhere in the account; it cannot be undone
#[derive(Debug, clap::Args)]
pub struct Erase {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Do not wait for the end: `postcall erase --receipt ers_...` asks for it later
    #[arg(long, conflicts_with = "receipt")]
    detach: bool,
    /// Show the receipt of an earlier erasure
    #[arg(long, value_name = "ID", conflicts_with = "phone")]
    receipt: Option<String>,
    /// The person's number, as the records hold it: +15551234567
    #[arg(required_unless_present = "receipt", allow_hyphen_values = true)]
    phone: Option<String>,
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(erase: Erase) -> Result<ExitCode, String> {
    let client = erase.server.client()?;
    let mut job = match &erase.receipt {
        Some(id) if id.is_empty() || id.contains(['/', '?', '#', '%']) => {
            return Err(format!("{id:?} is no id of an erasure; they begin with ers_"));
        }
        Some(id) => client.get(&format!("/v1/erasures/{id}")).await?,
        None => client.post("/v1/erasures", &json!({ "phone": erase.phone })).await?,
    };
    if !erase.detach && erase.receipt.is_none() {
        job = wait(&client, job).await?;
    }
    say(&if erase.json { format!("{job}\n") } else { receipt(&job) })?;
    Ok(ExitCode::SUCCESS)
}

async fn wait(client: &Client, mut job: Value) -> Result<Value, String> {
    let path = format!("/v1/erasures/{}", text(&job, "id"));
    let progress = Progress::new("rooms", ROOMS.len() as u64);
    while job["state"] == "running" {
        let at = ROOMS.iter().position(|room| job["doing"] == *room);
        progress.at(at.unwrap_or(0) as u64);
        tokio::time::sleep(PAUSE).await;
        job = client.get(&path).await?;
    }
    progress.finish();
    Ok(job)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("-")
}

fn receipt(job: &Value) -> String {
    let mut out = format!("{} {}\n", text(job, "id"), text(job, "state"));
    for (field, name) in [
        ("phone_digest", "number"),
        ("requested_at", "requested"),
        ("erased_at", "erased"),
        ("overwritten_at", "overwritten"),
    ] {
        out.push_str(&format!("  {name:<12} {}\n", text(job, field)));
    }
    let mut table = table::new(&["erased", "count"], 1);
    for (what, count) in job["erased"].as_object().into_iter().flatten() {
        table.add_row([what.replace('_', " "), count.to_string()]);
    }
    if job["erased"].as_object().is_some_and(serde_json::Map::is_empty) {
        return out + "  nothing names the number\n";
    }
    out + &table::text(&table)
}
