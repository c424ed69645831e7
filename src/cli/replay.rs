//! `postcall replay`: has deliveries made once more, shows how far that has come, lists and cancels.
//! Refuses to know how they are found: that is the server's, and goes on there when nobody looks.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::client::{Client, Server, in_path, with_query};
use super::exit::NO;
use super::progress::Progress;
use super::table;
use super::terminal::{remark, say};

/// Wait between two looks at how far a replay has come.
const PAUSE: Duration = Duration::from_millis(300);

/// Deliver once more what a selection names: all that is given has to fit
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ReplayCommand {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    order: Order,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Args)]
struct Order {
    /// One delivery: dlv_...
    #[arg(long, value_name = "ID")]
    delivery: Option<String>,
    /// One event: evt_...
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Events about this call: call_..., or the vendor's id
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Whose call --call is, where several sources have one of the vendor's id: src_...
    #[arg(long, value_name = "ID", requires = "call")]
    source: Option<String>,
    /// About calls of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// About calls of this campaign
    #[arg(long, value_name = "ID")]
    campaign: Option<String>,
    /// About calls of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Events that were owed to this endpoint: ep_...
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Events of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// About calls that ended like this
    #[arg(long)]
    outcome: Option<String>,
    /// Events of this time or later: 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Events before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Whose newest delivery is delivered, dead or cancelled
    #[arg(long)]
    state: Option<String>,
    /// To this endpoint in place of each delivery's own: ep_...
    #[arg(long, value_name = "ID")]
    to: Option<String>,
    /// Deliveries per second
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List replays, newest first
    List,
    /// Show a replay, and follow it while it runs
    Show {
        /// Its id: rpl_...
        id: String,
    },
    /// Cancel a replay, with what it planned and is still pending
    Cancel {
        /// Its id: rpl_...
        id: String,
    },
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(command: ReplayCommand) -> Result<ExitCode, String> {
    let client = command.server.client()?;
    let replay = match command.action {
        Some(Action::List) => {
            let found = client.get(&with_query("/v1/replays", &[("limit", Some("100"))])).await?;
            let all = found["data"].as_array().map_or(&[][..], Vec::as_slice);
            say(&if command.json { format!("{found}\n") } else { listed(all) })?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Action::Cancel { id }) => {
            client.post(&format!("/v1/replays/{}/cancel", in_path(&id)?), &json!({})).await?
        }
        Some(Action::Show { id }) => follow(&client, in_path(&id)?).await?,
        None => {
            let made = client.post("/v1/replays", &asked(&command.order)).await?;
            let id = made["id"].as_str().unwrap_or_default();
            if command.order.detach {
                made
            } else {
                remark(&format!("{id} runs on the server, also when this command is stopped"));
                follow(&client, in_path(id)?).await?
            }
        }
    };
    let was_cancelled = replay["state"] == "cancelled";
    say(&if command.json { format!("{replay}\n") } else { listed(std::slice::from_ref(&replay)) })?;
    Ok(if was_cancelled { NO } else { ExitCode::SUCCESS })
}

fn asked(order: &Order) -> Value {
    let mut asked = Map::new();
    for (name, value) in [
        ("delivery_id", &order.delivery),
        ("event_id", &order.event),
        ("call_id", &order.call),
        ("source_id", &order.source),
        ("batch_id", &order.batch),
        ("campaign_id", &order.campaign),
        ("agent_id", &order.agent),
        ("endpoint_id", &order.endpoint),
        ("outcome", &order.outcome),
        ("from", &order.from),
        ("until", &order.until),
        ("state", &order.state),
        ("to_endpoint_id", &order.to),
    ] {
        if let Some(value) = value {
            asked.insert(name.to_owned(), value.as_str().into());
        }
    }
    if !order.types.is_empty() {
        asked.insert("event_types".to_owned(), order.types.clone().into());
    }
    if let Some(rate) = order.rate {
        asked.insert("rate_per_second".to_owned(), rate.into());
    }
    asked.insert("dry_run".to_owned(), order.dry_run.into());
    asked.into()
}

/// Waits until everything was looked through and nothing is pending any more.
async fn follow(client: &Client, id: &str) -> Result<Value, String> {
    let path = format!("/v1/replays/{id}");
    let mut looking: Option<Progress> = None;
    let mut sending: Option<Progress> = None;
    loop {
        let replay = client.get(&path).await?;
        let number = |field: &str| replay[field].as_u64().unwrap_or(0);
        let is_running = replay["state"] == "running";
        if is_running {
            let total = number("total");
            looking
                .get_or_insert_with(|| Progress::new("events looked through", total))
                .at(number("examined"));
        } else if number("pending") > 0 && replay["state"] == "done" {
            if let Some(looking) = looking.take() {
                looking.finish();
            }
            let (all, done) = (number("deliveries"), number("deliveries") - number("pending"));
            sending.get_or_insert_with(|| Progress::new("deliveries settled", all)).at(done);
        } else {
            looking.iter().chain(&sending).for_each(Progress::finish);
            return Ok(replay);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn listed(replays: &[Value]) -> String {
    let columns = ["id", "state", "made", "dry run", "examined", "deliveries", "pending"];
    let mut table = table::new(&columns, 4);
    for replay in replays {
        let text = |field: &str| replay[field].as_str().unwrap_or_default().to_owned();
        let number = |field: &str| replay[field].to_string();
        let dry_run = if replay["dry_run"] == true { "yes" } else { "" };
        table.add_row([
            text("id"),
            text("state"),
            text("created_at"),
            dry_run.to_owned(),
            number("examined"),
            number("deliveries"),
            number("pending"),
        ]);
    }
    table::text(&table)
}
