//! `postcall analytics`: the numbers of an account's calls, as a table. Refuses to know how they are counted.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Server, with_query};
use super::table;
use super::terminal::say;

/// Show the numbers of calls: how many, how they ended, how long, what they cost
#[derive(Debug, clap::Args)]
pub struct Analytics {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Split by hour, day, campaign, batch or agent
    #[arg(long)]
    by: Option<String>,
    /// Calls that ended from here on: 2026-01-31 or 2026-01-31T12:00:00Z; 30 days unless said
    #[arg(long)]
    from: Option<String>,
    /// Calls that ended before; now unless said
    #[arg(long)]
    to: Option<String>,
    /// Only calls of this campaign
    #[arg(long, value_name = "ID")]
    campaign: Option<String>,
    /// Only calls of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only calls of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Where to go on: the next_cursor of --json
    #[arg(long)]
    cursor: Option<String>,
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(analytics: Analytics) -> Result<ExitCode, String> {
    let client = analytics.server.client()?;
    let asked = with_query(
        "/v1/analytics",
        &[
            ("by", analytics.by.as_deref()),
            ("from", analytics.from.as_deref()),
            ("to", analytics.to.as_deref()),
            ("campaign_id", analytics.campaign.as_deref()),
            ("batch_id", analytics.batch.as_deref()),
            ("agent_id", analytics.agent.as_deref()),
            ("cursor", analytics.cursor.as_deref()),
        ],
    );
    let found = client.get(&asked).await?;
    say(&if analytics.json { format!("{found}\n") } else { shown(&found) })?;
    Ok(ExitCode::SUCCESS)
}

fn shown(found: &Value) -> String {
    let columns = ["", "calls", "connected %", "succeeded %", "mean s", "p50 s", "p95 s", "score", "cost"];
    let mut table = table::new(&columns, 1);
    let parts = found["data"].as_array().into_iter().flatten();
    let named = parts.map(|part| {
        let names = ["begins_at", "campaign_id", "batch_id", "agent_id"];
        (names.iter().map(|name| table::cell(&part[name])).collect::<String>(), part)
    });
    for (name, numbers) in named.chain([("total".to_owned(), &found["total"])]) {
        let length = &numbers["duration_seconds"];
        table.add_row([
            name,
            table::cell(&numbers["calls"]),
            table::cell(&numbers["connection_rate"]),
            table::cell(&numbers["success_rate"]),
            table::cell(&length["mean"]),
            table::cell(&length["p50"]),
            table::cell(&length["p95"]),
            table::cell(&numbers["score"]["mean"]),
            table::cell(&numbers["cost"]["total"]),
        ]);
    }
    format!(
        "  {} to {}, UTC\n{}",
        table::cell(&found["from"]),
        table::cell(&found["to"]),
        table::listed(&table, found)
    )
}
