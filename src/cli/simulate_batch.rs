//! A batch, played: its open contacts are read page by page and called through a door until each of them has closed;
//! then the numbers that the server counted stand beside those that were played. Refuses to look behind the API.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::batches;
use super::client::{self, Client};
use super::dialer::Script;
use super::dialer::callee::{Callee, Played};
use super::dialer::sending::{Tally, Target, play};
use super::progress::Progress;
use super::table;
use super::terminal::remark;
use crate::delivery::wire::Wire;

/// Contacts that are asked for at a time, and that are kept ahead of the calls.
const PAGE: usize = 1000;
/// How long the numbers of a batch may stand still before what they lack is taken for lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at them.
const GLANCE: Duration = Duration::from_millis(100);
/// The numbers that are compared.
const FIELDS: [&str; 4] = ["total", "processed", "succeeded", "failed"];

/// What became of a batch.
pub struct Outcome {
    /// What the door answered.
    pub tally: Tally,
    /// What was played.
    pub played: Played,
    /// The batch after it, as the API shows it.
    batch: Value,
    /// What its numbers should be.
    expected: [u64; 4],
}

/// The server of a door: all before `/in/`, else the address without its path.
pub fn server_of(door: &str) -> String {
    match (door.rsplit_once("/in/"), url::Url::parse(door)) {
        (Some((server, _)), _) => server.to_owned(),
        (None, Ok(url)) => url.origin().ascii_serialization(),
        (None, Err(_)) => door.to_owned(),
    }
}

/// Calls the contacts of a batch until none is open, or nothing that this dialect says would close them.
///
/// # Errors
/// A sentence when the batch is not there, is over, or has nobody to call, or the server does not answer.
pub async fn run(
    client: &Client,
    id: &str,
    wire: &Wire,
    script: Script,
    target: Target,
) -> Result<Outcome, String> {
    let address = format!("/v1/batches/{}", client::in_path(id)?);
    let mut batch = batches::wait(client, client.get(&address).await?).await?;
    may_be_called(id, &batch)?;
    may_be_reported(id, &batch, &target)?;
    let before = numbers(&batch);
    let rounds = batch["max_attempts"].as_u64().unwrap_or(1);
    let (mut tally, mut played): (Option<Tally>, Played) = (None, Played::default());
    for _ in 0..rounds {
        let [total, processed, ..] = numbers(&batch);
        let progress = Progress::new("calls", total - processed.min(total));
        let (to, callees) = mpsc::channel(PAGE);
        let reading = tokio::spawn(read_contacts(client.clone(), id.into(), rounds, to));
        let mut plan = script.plan_for(callees);
        let answers = play(wire, &mut plan, target.clone(), |calls| progress.at(calls), |_| {}).await;
        progress.finish();
        reading.await.map_err(|error| error.to_string())??;
        let now = plan.played();
        played = played.and(now);
        match &mut tally {
            Some(tally) => tally.add(&answers),
            None => tally = Some(answers),
        }
        batch = client.get(&address).await?;
        // Whom a vendor keeps silent about stays open however often it calls.
        if numbers(&batch)[1] >= total || now.calls == 0 || now.unsaid > 0 {
            break;
        }
    }
    let tally = tally.filter(|_| played.calls > 0);
    let tally = tally.ok_or_else(|| format!("the batch {id} has no contact that may be called"))?;
    let (succeeded, failed) = (before[2] + played.reached, before[3] + played.given_up);
    let expected = [before[0], succeeded + failed, succeeded, failed];
    let batch = settled(client, &address, batch, expected[1]).await?;
    Ok(Outcome { tally, played, batch, expected })
}

fn may_be_called(id: &str, batch: &Value) -> Result<(), String> {
    let status = batch["status"].as_str().unwrap_or_default();
    if let Some(end) = batch["ended_at"].as_str() {
        return Err(format!(
            "the batch {id} is over: {status} since {end}. `postcall batches create` makes another one"
        ));
    }
    if status == "scheduled" {
        let at = table::cell(&batch["scheduled_at"]);
        remark(&format!("  it is scheduled for {at}; its calls are played now"));
    }
    Ok(())
}

/// The sources that a batch names have to have the one of the URL, or all that is played counts for nothing.
fn may_be_reported(id: &str, batch: &Value, target: &Target) -> Result<(), String> {
    let source =
        target.url.rsplit_once("/in/").map(|(_, rest)| rest.split(['.', '?']).next().unwrap_or(rest));
    let listed = batch["source_ids"].as_array();
    if let (Some(source), Some(listed)) = (source, listed)
        && !listed.iter().any(|known| known.as_str() == Some(source))
    {
        let listed: Vec<&str> = listed.iter().filter_map(Value::as_str).collect();
        return Err(format!(
            "the batch {id} counts calls of {} alone, and --url is the source {source}'s",
            listed.join(", ")
        ));
    }
    let dialect = batch["source_dialect"].as_str();
    if let Some(dialect) = dialect.filter(|dialect| *dialect != target.dialect.as_str()) {
        return Err(format!(
            "the batch {id} counts calls of sources in the dialect {dialect} alone; play --dialect {dialect}, or make a batch \
             that names its sources"
        ));
    }
    Ok(())
}

/// Reads the open contacts of a batch page by page, no faster than they are called.
async fn read_contacts(
    client: Client,
    batch: Arc<str>,
    most_attempts: u64,
    to: mpsc::Sender<Callee>,
) -> Result<(), String> {
    let (list, limit) = (format!("/v1/batches/{batch}/contacts"), PAGE.to_string());
    let mut cursor: Option<String> = None;
    loop {
        let query = [("state", Some("open")), ("limit", Some(limit.as_str())), ("cursor", cursor.as_deref())];
        let page = client.get(&client::with_query(&list, &query)).await?;
        for contact in page["data"].as_array().into_iter().flatten() {
            let text = |field: &str| contact[field].as_str().map(str::to_owned);
            let callee = Callee {
                batch: Arc::clone(&batch),
                contact: text("id").unwrap_or_default(),
                given_id: text("contact_id"),
                phone: text("phone").unwrap_or_default(),
                name: text("name"),
                email: text("email"),
                attempts: contact["attempts"].as_u64().unwrap_or(0),
                most_attempts,
            };
            // Nobody calls any more.
            if to.send(callee).await.is_err() {
                return Ok(());
            }
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// The batch once it has counted this many contacts, or when its numbers have stood still for too long.
async fn settled(client: &Client, address: &str, mut batch: Value, processed: u64) -> Result<Value, String> {
    let progress = Progress::new("contacts done", processed);
    let (mut last, mut since) = (numbers(&batch)[1], Instant::now());
    while last < processed && since.elapsed() < PATIENCE {
        progress.at(last);
        sleep(GLANCE).await;
        batch = client.get(address).await?;
        let now = numbers(&batch)[1];
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    progress.finish();
    Ok(batch)
}

fn numbers(batch: &Value) -> [u64; 4] {
    FIELDS.map(|field| batch["statistics"][field].as_u64().unwrap_or(0))
}

impl Outcome {
    /// In what the batch differs from what was played; in nothing, if all is well.
    pub fn differences(&self) -> Vec<String> {
        let counted = numbers(&self.batch);
        let different = FIELDS.iter().zip(self.expected.iter().zip(&counted));
        let mut found: Vec<String> = different
            .filter(|(_, (expected, counted))| expected != counted)
            .map(|(field, (expected, counted))| format!("{field} is {counted} and should be {expected}"))
            .collect();
        let status = self.batch["status"].as_str().unwrap_or_default();
        let (is_whole, is_completed) = (self.expected[0] == self.expected[1], status == "completed");
        if is_whole != is_completed {
            let wanted = if is_whole { "completed" } else { "open" };
            found.push(format!("status is {status} and should be {wanted}"));
        }
        found
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let expected: serde_json::Map<String, Value> = FIELDS
            .iter()
            .zip(self.expected)
            .map(|(&field, number)| (field.to_owned(), number.into()))
            .collect();
        json!({
            "id": self.batch["id"],
            "status": self.batch["status"],
            "statistics": self.batch["statistics"],
            "expected": expected,
            "differences": self.differences(),
            "calls": self.played.calls,
            "calls_completed": self.played.reached,
            "calls_not_told": self.played.unsaid,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let id = table::cell(&self.batch["id"]);
        let mut shown = table::new(&[id.as_str(), "played", "counted"], 1);
        for ((field, expected), counted) in FIELDS.iter().zip(self.expected).zip(numbers(&self.batch)) {
            shown.add_row([(*field).to_owned(), expected.to_string(), counted.to_string()]);
        }
        for field in ["percent_complete", "success_rate"] {
            shown.add_row([field.to_owned(), String::new(), table::cell(&self.batch["statistics"][field])]);
        }
        shown.add_row(["status".to_owned(), String::new(), table::cell(&self.batch["status"])]);
        let mut text = table::text(&shown);
        if self.played.unsaid > 0 {
            text += &format!(
                "  {} were not reached, and this dialect does not speak of such calls: they stay open.\n",
                self.played.unsaid
            );
        }
        match self.differences().as_slice() {
            [] => text += "  The batch counted what was played.\n",
            found => {
                text += "  The batch did NOT count what was played, or somebody else called too:\n";
                found.iter().for_each(|difference| text += &format!("    {difference}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_found_from_its_door() {
        for (door, server) in [
            ("http://127.0.0.1:8080/in/src_1.token", "http://127.0.0.1:8080"),
            ("https://x.example/postcall/in/src_1.token", "https://x.example/postcall"),
            ("https://x.example/aiDialerCallbackWithData", "https://x.example"),
        ] {
            assert_eq!(server_of(door), server);
        }
    }

    fn outcome(counted: [u64; 4], status: &str) -> Outcome {
        let statistics: serde_json::Map<String, Value> =
            FIELDS.iter().zip(counted).map(|(&field, number)| (field.to_owned(), number.into())).collect();
        Outcome {
            tally: Tally::default(),
            played: Played { calls: 3, reached: 2, given_up: 1, unsaid: 0 },
            batch: json!({ "id": "bat_1", "status": status, "statistics": statistics }),
            expected: [3, 3, 2, 1],
        }
    }

    #[test]
    fn what_was_not_counted_is_named() {
        assert!(outcome([3, 3, 2, 1], "completed").differences().is_empty());
        assert_eq!(
            outcome([3, 2, 1, 1], "processing").differences(),
            [
                "processed is 2 and should be 3",
                "succeeded is 1 and should be 2",
                "status is processing and should be completed",
            ]
        );
        let early = Outcome { expected: [4, 3, 2, 1], ..outcome([4, 3, 2, 1], "completed") };
        assert_eq!(early.differences(), ["status is completed and should be open"]);
        assert!(outcome([3, 2, 2, 0], "processing").text().contains("NOT count"));
    }
}
