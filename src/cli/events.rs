//! `postcall events`: the feed, a page of it or as it comes. Refuses to know who was told what.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Server, with_query};
use super::table;
use super::terminal::{remark, say};

/// Wait before a stream that ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// List the events of the feed, or follow it
#[derive(Debug, clap::Args)]
pub struct Events {
    #[command(flatten)]
    server: Server,
    /// Print JSON; while following, one event a line
    #[arg(long)]
    json: bool,
    /// Go on printing events as they come
    #[arg(long)]
    follow: bool,
    /// From after this event (evt_...) or cursor. Left out: the oldest event that is kept; with --follow, the next one
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// How many, without --follow
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(events: Events) -> Result<ExitCode, String> {
    let client = events.server.client()?;
    if events.follow {
        return follow(&client, events.after, events.json).await;
    }
    let limit = events.limit.to_string();
    let path = with_query("/v1/events", &[("after", events.after.as_deref()), ("limit", Some(&limit))]);
    let found = client.get(&path).await?;
    say(&if events.json { format!("{found}\n") } else { listed(&found) })?;
    Ok(ExitCode::SUCCESS)
}

fn listed(found: &Value) -> String {
    let mut table = table::new(&["time", "type", "call", "id"], 4);
    for event in found["data"].as_array().into_iter().flatten() {
        table.add_row(columns(event));
    }
    let more = match found["next_cursor"].as_str() {
        Some(cursor) => format!("  There are more: --after {cursor}\n"),
        None => String::new(),
    };
    table::text(&table) + &more
}

fn columns(event: &Value) -> [String; 4] {
    [&event["timestamp"], &event["type"], &event["data"]["call_id"], &event["id"]].map(table::cell)
}

/// Prints events for as long as somebody reads them. A stream that ends is opened again where it was.
async fn follow(client: &Client, after: Option<String>, json: bool) -> Result<ExitCode, String> {
    let path = with_query("/v1/events/stream", &[("after", Some(after.as_deref().unwrap_or("latest")))]);
    let mut last: Option<String> = None;
    // What is wrong at the beginning stays wrong; later the server may be restarting.
    let mut stream = client.stream(&path, None).await?;
    loop {
        let mut messages = Messages::default();
        while let Ok(Some(part)) = stream.next().await {
            for message in messages.add(&part) {
                if message.event == "cursor_expired" {
                    return Err("the feed went on past the account's retention; begin again without --after"
                        .to_owned());
                }
                if !message.id.is_empty() {
                    last = Some(message.id);
                }
                if message.data.is_empty() {
                    continue;
                }
                let event: Value = serde_json::from_str(&message.data)
                    .map_err(|_| "the stream holds what is no event".to_owned())?;
                let [time, kind, call, id] = columns(&event);
                say(&match json {
                    true => format!("{event}\n"),
                    false => format!("{time}  {kind:<16}  {call}  {id}\n"),
                })?;
            }
        }
        loop {
            tokio::time::sleep(PAUSE).await;
            match client.stream(&path, last.as_deref()).await {
                Ok(again) => {
                    stream = again;
                    break;
                }
                Err(why) => remark(&format!("postcall: {why}")),
            }
        }
    }
}

/// One message of a stream.
#[derive(Debug, Default, PartialEq)]
struct Message {
    id: String,
    event: String,
    data: String,
}

/// Puts messages together from the parts in which they come.
#[derive(Debug, Default)]
struct Messages(Vec<u8>);

impl Messages {
    /// The messages that are whole now and say something, be it only where the stream began.
    fn add(&mut self, part: &[u8]) -> Vec<Message> {
        self.0.extend_from_slice(part);
        let mut whole = Vec::new();
        while let Some(end) = self.0.windows(2).position(|two| two == b"\n\n") {
            let text: Vec<u8> = self.0.drain(..end + 2).collect();
            let mut message = Message::default();
            for line in String::from_utf8_lossy(&text).lines() {
                match line.split_once(": ") {
                    Some(("id", id)) => id.clone_into(&mut message.id),
                    Some(("event", event)) => event.clone_into(&mut message.event),
                    Some(("data", data)) => {
                        message.data.push_str(data);
                        message.data.push('\n');
                    }
                    _ => {}
                }
            }
            if !(message.data.is_empty() && message.id.is_empty()) {
                whole.push(message);
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_put_together_from_any_parts() {
        let stream = b"retry: 1000\n\n:\n\nid: evt_1\ndata: {\"a\":\ndata: 1}\n\nevent: cursor_expired\ndata: {}\n\nid: evt_2\n";
        let expected = [
            Message { id: "evt_1".to_owned(), event: String::new(), data: "{\"a\":\n1}\n".to_owned() },
            Message { id: String::new(), event: "cursor_expired".to_owned(), data: "{}\n".to_owned() },
        ];
        for size in [1, 3, 7, 1000] {
            let mut messages = Messages::default();
            let found: Vec<Message> = stream.chunks(size).flat_map(|part| messages.add(part)).collect();
            assert_eq!(found, expected, "in parts of {size}");
        }
    }
}
