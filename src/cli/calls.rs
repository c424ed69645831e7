//! `postcall calls`: lists the calls of an account, or shows one. Refuses to know how a record came to be.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Server, path, with_query};
use super::table;
use super::terminal::say;

/// List calls, newest first, or show one
#[derive(Debug, clap::Args)]
pub struct Calls {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// One call: call_... or the vendor's id
    id: Option<String>,
    /// Whose call it is, where several sources have one of the vendor's id: src_...
    #[arg(long, value_name = "ID", requires = "id")]
    source: Option<String>,
    /// Only calls that ended so: completed, voicemail, no_answer, busy, failed, canceled, lost
    #[arg(long, conflicts_with = "id")]
    outcome: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, conflicts_with = "id")]
    limit: u32,
    /// Where to go on: the next_cursor of --json
    #[arg(long, conflicts_with = "id")]
    cursor: Option<String>,
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(calls: Calls) -> Result<ExitCode, String> {
    let client = calls.server.client()?;
    let limit = calls.limit.to_string();
    let asked = match &calls.id {
        Some(id) => with_query(&path("/v1/calls", id), &[("source_id", calls.source.as_deref())]),
        None => with_query(
            "/v1/calls",
            &[
                ("outcome", calls.outcome.as_deref()),
                ("limit", Some(&limit)),
                ("cursor", calls.cursor.as_deref()),
            ],
        ),
    };
    let found = client.get(&asked).await?;
    let shown = match (calls.json, &calls.id) {
        (true, _) => format!("{found}\n"),
        (false, Some(_)) => format!("{found:#}\n"),
        (false, None) => listed(&found),
    };
    say(&shown)?;
    Ok(ExitCode::SUCCESS)
}

fn listed(found: &Value) -> String {
    let mut table =
        table::new(&["id", "call", "with", "campaign", "agent", "outcome", "updated", "seconds"], 7);
    for call in found["data"].as_array().into_iter().flatten() {
        let outcome = call["outcome"].as_str().or(call["stage"].as_str());
        table.add_row([
            table::cell(&call["id"]),
            table::cell(&call["call_id"]),
            table::cell(&call["contact"]["phone"]),
            table::cell(&call["campaign"]["id"]),
            table::cell(&call["agent"]["id"]),
            outcome.unwrap_or_default().to_owned(),
            table::cell(&call["updated_at"]),
            table::cell(&call["duration_seconds"]),
        ]);
    }
    table::listed(&table, found)
}
