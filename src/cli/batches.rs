//! `postcall batches`: makes, shows and stops batches of a running server. Refuses to know how a batch is kept.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, Server};
use super::contacts_file;
use super::progress::Progress;
use super::table;
use super::terminal::say;

/// How often a running intake is looked at.
const PAUSE: Duration = Duration::from_millis(250);

/// Make, watch and stop batches of contacts
#[derive(Debug, clap::Args)]
pub struct Batches {
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
    /// Make a batch from a file, and wait until its contacts are taken in
    Create(Box<Create>),
    /// List batches, newest first
    List {
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// Show a batch
    Show {
        /// Its id: bat_...
        id: String,
    },
    /// Stop a batch: batch.failed is told with the code CANCELLED
    Cancel {
        /// Its id: bat_...
        id: String,
    },
    /// Stop a batch as failed: batch.failed is told with this error and code
    Fail {
        /// Its id: bat_...
        id: String,
        /// Why, in words
        #[arg(long)]
        error: String,
        /// Why, as a code
        #[arg(long)]
        code: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// CSV with a header line (phone, id, name, email, company; any other column goes along), or JSON: a list of
    /// contacts, or a whole request
    file: PathBuf,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// The agent that shall call
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Your user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Calls that a contact gets before it counts as failed, 1 to 5
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// After how many minutes without its end a call is given up as lost
    #[arg(long, value_name = "MINUTES")]
    lost_after: Option<f64>,
    /// A source that may report on it: src_...; may be repeated. Left out, every source may
    #[arg(long = "source", value_name = "ID")]
    sources: Vec<String>,
    /// Told once, when every contact has closed
    #[arg(long, value_name = "URL")]
    on_batch_complete: Option<String>,
    /// Told of each call that ends
    #[arg(long, value_name = "URL")]
    on_call_complete: Option<String>,
    /// Told if the batch stops
    #[arg(long, value_name = "URL")]
    on_batch_failed: Option<String>,
    /// Do not wait until the contacts are taken in
    #[arg(long)]
    no_wait: bool,
}

/// Does it.
///
/// # Errors
/// A sentence when the file cannot be read, or the server does not answer or refuses.
pub async fn run(batches: Batches) -> Result<ExitCode, String> {
    let client = batches.server.client()?;
    let (answer, shown) = match batches.action {
        Action::Create(create) => {
            let made = make(&client, &create).await?;
            let shown = described(&made);
            (made, shown)
        }
        Action::List { limit } => {
            let found = client.get(&format!("/v1/batches?limit={limit}")).await?;
            let shown = listed(&found);
            (found, shown)
        }
        Action::Show { id } => {
            let found = client.get(&path(&id, "")?).await?;
            let shown = described(&found);
            (found, shown)
        }
        Action::Cancel { id } => {
            let ended = client.post(&path(&id, "/cancel")?, &json!({})).await?;
            let shown = described(&ended);
            (ended, shown)
        }
        Action::Fail { id, error, code } => {
            let mut why = json!({ "error": error });
            if let Some(code) = code {
                why["code"] = code.into();
            }
            let ended = client.post(&path(&id, "/fail")?, &why).await?;
            let shown = described(&ended);
            (ended, shown)
        }
    };
    say(&if batches.json { format!("{answer:#}\n") } else { shown })?;
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str, rest: &str) -> Result<String, String> {
    if id.is_empty() || id.contains(['/', '?', '#', '%']) {
        return Err(format!("{id:?} is no id of a batch; `postcall batches list` shows them"));
    }
    Ok(format!("/v1/batches/{id}{rest}"))
}

async fn make(client: &Client, create: &Create) -> Result<Value, String> {
    let mut asked = contacts_file::read(&create.file)?;
    for (field, value) in [("name", &create.name), ("agent_id", &create.agent), ("user_id", &create.user)] {
        if let Some(value) = value {
            asked[field] = json!(value);
        }
    }
    if !create.sources.is_empty() {
        asked["source_ids"] = json!(create.sources);
    }
    if let Some(most) = create.max_attempts {
        asked["max_attempts"] = json!(most);
    }
    if let Some(minutes) = create.lost_after {
        asked["lost_after_minutes"] = json!(minutes);
    }
    for (field, url) in [
        ("on_batch_complete", &create.on_batch_complete),
        ("on_call_complete", &create.on_call_complete),
        ("on_batch_failed", &create.on_batch_failed),
    ] {
        if let Some(url) = url {
            asked["webhooks"][field] = json!(url);
        }
    }
    let made = client.post("/v1/batches", &asked).await?;
    if create.no_wait {
        return Ok(made);
    }
    let mut batch = wait(client, made.clone()).await?;
    if let Some(secret) = made.get("secret") {
        batch["secret"] = secret.clone();
    }
    Ok(batch)
}

/// Waits until all contacts are taken in, or the batch has ended.
pub async fn wait(client: &Client, mut batch: Value) -> Result<Value, String> {
    let address = path(text(&batch, "id"), "")?;
    let progress = Progress::new("contacts taken in", batch["statistics"]["total"].as_u64().unwrap_or(0));
    while text(&batch, "status") == "ingesting" {
        progress.at(batch["contacts_taken_in"].as_u64().unwrap_or(0));
        tokio::time::sleep(PAUSE).await;
        batch = client.get(&address).await?;
    }
    progress.at(batch["contacts_taken_in"].as_u64().unwrap_or(0));
    progress.finish();
    Ok(batch)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn number(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

fn listed(found: &Value) -> String {
    let mut table =
        table::new(&["id", "name", "status", "made", "contacts", "done", "reached", "failed", "%"], 4);
    for batch in found["data"].as_array().into_iter().flatten() {
        let numbers = &batch["statistics"];
        table.add_row([
            text(batch, "id").to_owned(),
            text(batch, "name").to_owned(),
            text(batch, "status").to_owned(),
            text(batch, "created_at").to_owned(),
            number(&numbers["total"]),
            number(&numbers["processed"]),
            number(&numbers["succeeded"]),
            number(&numbers["failed"]),
            number(&numbers["percent_complete"]),
        ]);
    }
    table::text(&table)
}

fn described(batch: &Value) -> String {
    let numbers = &batch["statistics"];
    let mut table = table::new(&["batch", text(batch, "id")], 2);
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            table.add_row([name.to_owned(), value]);
        }
    };
    row("name", text(batch, "name").to_owned());
    row("status", text(batch, "status").to_owned());
    row("contacts", number(&numbers["total"]));
    row("taken in", number(&batch["contacts_taken_in"]));
    row("done", format!("{} ({} %)", numbers["processed"], numbers["percent_complete"]));
    row("reached", format!("{} ({} % of done)", numbers["succeeded"], numbers["success_rate"]));
    row("failed", number(&numbers["failed"]));
    for (name, field) in [("made", "created_at"), ("started", "started_at"), ("ended", "ended_at")] {
        row(name, text(batch, field).to_owned());
    }
    let sources = batch["source_ids"]
        .as_array()
        .map(|ids| ids.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"));
    let of_dialect =
        batch["source_dialect"].as_str().map(|dialect| format!("every one in the dialect {dialect}"));
    row("sources", sources.or(of_dialect).unwrap_or_else(|| "all".to_owned()));
    row("error", text(batch, "error").to_owned());
    row("code", text(batch, "code").to_owned());
    row("secret", text(batch, "secret").to_owned());
    let mut shown = table::text(&table);
    if batch.get("secret").is_some() {
        shown.push_str("The secret signs for the endpoints of all batches. It is not shown again.\n");
    }
    shown
}
