//! `postcall deliveries`: what is owed to whom, every attempt of it, and a retry or cancel by hand.
//! Refuses to know when an attempt is made.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Server, in_path, with_query};
use super::table;
use super::terminal::say;

/// List, show, retry and cancel deliveries
#[derive(Debug, clap::Args)]
pub struct Deliveries {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List deliveries, newest first
    List {
        /// Of this endpoint: ep_...
        #[arg(long, value_name = "ID")]
        endpoint: Option<String>,
        /// Of this event: evt_...
        #[arg(long, value_name = "ID")]
        event: Option<String>,
        /// Of this call: call_..., or the vendor's id
        #[arg(long, value_name = "ID")]
        call: Option<String>,
        /// Whose call --call is, where several sources have one of the vendor's id: src_...
        #[arg(long, value_name = "ID", requires = "call")]
        source: Option<String>,
        /// In this state: pending, delivered, dead, cancelled
        #[arg(long)]
        state: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
        /// Where the page before ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show a delivery with every attempt
    Show {
        /// Its id: dlv_...
        id: String,
    },
    /// Try a pending or dead delivery now
    Retry {
        /// Its id: dlv_...
        id: String,
    },
    /// Call a pending delivery off
    Cancel {
        /// Its id: dlv_...
        id: String,
    },
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(deliveries: Deliveries) -> Result<ExitCode, String> {
    let client = deliveries.server.client()?;
    let (answer, shown) = match deliveries.action {
        Action::List { endpoint, event, call, source, state, limit, cursor } => {
            let limit = limit.to_string();
            let path = with_query(
                "/v1/deliveries",
                &[
                    ("endpoint_id", endpoint.as_deref()),
                    ("event_id", event.as_deref()),
                    ("call_id", call.as_deref()),
                    ("source_id", source.as_deref()),
                    ("state", state.as_deref()),
                    ("limit", Some(&limit)),
                    ("cursor", cursor.as_deref()),
                ],
            );
            let found = client.get(&path).await?;
            let shown = listed(&found);
            (found, shown)
        }
        Action::Show { id } => {
            let found = client.get(&format!("/v1/deliveries/{}", in_path(&id)?)).await?;
            let shown = in_full(&found);
            (found, shown)
        }
        Action::Retry { id } => {
            let turned = client.post(&format!("/v1/deliveries/{}/retry", in_path(&id)?), &json!({})).await?;
            (turned, format!("{id} is tried now\n"))
        }
        Action::Cancel { id } => {
            let turned = client.post(&format!("/v1/deliveries/{}/cancel", in_path(&id)?), &json!({})).await?;
            (turned, format!("{id} is cancelled\n"))
        }
    };
    say(&if deliveries.json { format!("{answer}\n") } else { shown })?;
    Ok(ExitCode::SUCCESS)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn attempts(delivery: &Value) -> &[Value] {
    delivery["attempts"].as_array().map_or(&[], Vec::as_slice)
}

fn listed(found: &Value) -> String {
    let columns = ["id", "event", "call", "endpoint", "state", "next attempt", "attempts", "last status"];
    let mut table = table::new(&columns, 6);
    for delivery in found["data"].as_array().into_iter().flatten() {
        let tries = attempts(delivery);
        let last = tries.last().map(|last| table::cell(&last["status"])).unwrap_or_default();
        table.add_row([
            text(delivery, "id"),
            text(delivery, "event_type"),
            text(delivery, "call_id"),
            text(delivery, "endpoint_id"),
            text(delivery, "state"),
            text(delivery, "next_attempt_at"),
            &tries.len().to_string(),
            &last,
        ]);
    }
    let more = match found["next_cursor"].as_str() {
        Some(cursor) => format!("  There are more: --cursor {cursor}\n"),
        None => String::new(),
    };
    table::text(&table) + &more
}

fn in_full(delivery: &Value) -> String {
    let mut shown = String::new();
    for field in
        ["id", "state", "event_type", "event_id", "call_id", "endpoint_id", "replay_id", "next_attempt_at"]
    {
        if !delivery[field].is_null() {
            shown += &format!("  {field:<16} {}\n", table::cell(&delivery[field]));
        }
    }
    let mut table = table::new(&["attempt", "at", "status", "ms", "error"], 5);
    for attempt in attempts(delivery) {
        table.add_row(
            ["number", "at", "status", "latency_ms", "error"].map(|field| table::cell(&attempt[field])),
        );
    }
    shown + &table::text(&table)
}
