//! A store that owes much and rests: filled through the door with events of one campaign, for endpoints that are owed
//! them all. All but one of these are disabled; the last answers 503 and waits for hours after its first attempt, so that
//! its deliveries carry attempts. Other campaigns have nothing to do with them.
//! Refuses to know what is measured over it.

use serde_json::json;

use crate::bodies::{Bodies, ORDINARY};
use crate::load::{Load, Until};
use crate::part::Part;
use crate::postcall::{Postcall, Sum};
use crate::stage::{Backlog, Stage};

/// The campaign of what is owed and rests.
pub const RESTING: &str = "backlog";
/// The campaign of what is measured.
pub const FRESH: &str = "fresh";
/// Where nobody listens: every attempt is refused at once.
pub const CLOSED: &str = "http://127.0.0.1:1/";

/// Endpoints for the backlog, so that a store is the same with and without one; gives their ids, that of the one at
/// `busy` last.
pub async fn endpoints(postcall: &Postcall, count: usize, busy: &str) -> Result<Vec<String>, String> {
    let mut made = Vec::new();
    for _ in 1..count {
        let id = postcall.endpoint(CLOSED, json!({"campaign_id": RESTING})).await?;
        postcall.disable(&id).await?;
        made.push(id);
    }
    let hours = [6 * 3600; 8];
    let patient = json!({"campaign_id": RESTING, "retry_delays_seconds": hours});
    made.push(postcall.endpoint(busy, patient).await?);
    Ok(made)
}

/// How many endpoints are owed, and how many events each.
pub fn size(stage: &Stage) -> (usize, u64) {
    stage.pick((10, 8_000), (20, 50_000))
}

/// The store with the backlog; filled by whoever asks first. Taken: one process may have it.
pub async fn take(stage: &mut Stage) -> Result<Backlog, String> {
    match stage.take_backlog() {
        Some(backlog) => Ok(backlog),
        None => fill(stage).await,
    }
}

/// Fills one and stops it cleanly.
async fn fill(stage: &Stage) -> Result<Backlog, String> {
    let (endpoint_count, events) = size(stage);
    stage.note(&format!("filling a store with {events} events for {endpoint_count} resting endpoints each"));
    let data = stage.data()?;
    let postcall = stage.postcall(&data).await?;
    let door = postcall.source().await?;
    let busy = Part::start(&["busy"]).await?;
    let made = endpoints(&postcall, endpoint_count, &busy.url).await?;
    let bodies = Bodies::new(ORDINARY, RESTING);
    let sent = Load::of(&postcall.door(&door), &bodies).flat_out(Until::Count(events)).await?;
    let rests = |sum: &Sum| !made.contains(&sum.endpoint_id) || sum.pending == sent.accepted;
    let sums = postcall.until(|sums| sums.iter().all(rests)).await?;
    // Each of the busy endpoint's deliveries has to have been tried before all of them rest.
    while postcall.attempts().await? < sent.accepted {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    postcall.stop().await?;
    Ok(Backlog { data, door, pending: sums.iter().map(|sum| sum.pending).sum() })
}
