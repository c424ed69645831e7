//! `postcall campaigns` and `postcall agents`: what calls told of, and how far their calls have come. Refuses to know how
//! they are counted.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Server, path, with_query};
use super::table;
use super::terminal::say;

/// List campaigns, or show one
#[derive(Debug, clap::Args)]
pub struct Campaigns {
    #[command(flatten)]
    asked: Asked,
}

/// List agents, or show one
#[derive(Debug, clap::Args)]
pub struct Agents {
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, clap::Args)]
struct Asked {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// One of them, by the vendor's id
    id: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, conflicts_with = "id")]
    limit: u32,
    /// Where to go on: the next_cursor of --json
    #[arg(long, conflicts_with = "id")]
    cursor: Option<String>,
}

/// Shows campaigns.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(campaigns: Campaigns) -> Result<ExitCode, String> {
    show(campaigns.asked, "campaign").await
}

/// Shows agents.
///
/// # Errors
/// As for [`run`].
pub async fn run_agents(agents: Agents) -> Result<ExitCode, String> {
    show(agents.asked, "agent").await
}

async fn show(asked: Asked, what: &str) -> Result<ExitCode, String> {
    let client = asked.server.client()?;
    let (base, limit) = (format!("/v1/{what}s"), asked.limit.to_string());
    let address = match &asked.id {
        Some(id) => path(&base, id),
        None => with_query(&base, &[("limit", Some(&limit)), ("cursor", asked.cursor.as_deref())]),
    };
    let found = client.get(&address).await?;
    let shown = match (asked.json, &asked.id) {
        (true, _) => format!("{found}\n"),
        (false, Some(_)) => format!("{found:#}\n"),
        (false, None) => listed(&found, what),
    };
    say(&shown)?;
    Ok(ExitCode::SUCCESS)
}

fn listed(found: &Value, what: &str) -> String {
    let columns =
        [what, "name", "calls", "in progress", "ended", "done %", "connected %", "succeeded %", "cost"];
    let mut table = table::new(&columns, 2);
    let id = format!("{what}_id");
    for record in found["data"].as_array().into_iter().flatten() {
        let (progress, ended) = (&record["progress"], &record["ended"]);
        table.add_row([
            table::cell(&record[&id]),
            table::cell(&record["name"]),
            table::cell(&progress["calls"]),
            table::cell(&progress["in_progress"]),
            table::cell(&progress["ended"]),
            table::cell(&progress["percent_complete"]),
            table::cell(&ended["connection_rate"]),
            table::cell(&ended["success_rate"]),
            table::cell(&ended["cost"]["total"]),
        ]);
    }
    table::listed(&table, found)
}
