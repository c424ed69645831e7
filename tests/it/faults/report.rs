//! The report on a test: what the nodes say in the end is gathered, put before the judge with what receivers heard, and
//! printed. Refuses to know which faults there were and how they were made.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use postcall::model::id::{self, Kind};
use serde_json::Value;

use super::database::Numbers;
use super::judge::{Deliveries, Endpoint, Evidence, Told, Verdict, judge};
use super::load::{Answers, Promised};
use super::nodes::Node;
use super::receivers::{Hearing, Receivers};
use super::vendors::DIALECTS;
use super::{Fact, PATIENCE};
use crate::harness::Client;

/// A fault, with what was known when it struck.
pub struct Seen {
    pub fault: String,
    pub start: Instant,
    /// Deliveries that were open in the books, and that nobody could settle since.
    pub open: HashSet<Numbers>,
    /// What came up to then was on its way.
    pub moment: usize,
    /// How long it took until they were settled.
    pub recovered: Option<Duration>,
}

/// What was found.
pub struct Report {
    evidence: Evidence,
    verdict: Verdict,
    answers: Answers,
}

/// Waits until everything owed is delivered, and has it judged.
pub async fn gather(nodes: &[Node], promised: Promised, receivers: &Receivers, seen: &[Seen]) -> Report {
    let api = nodes[0].api();
    settled(&api).await;
    let mut sums = Value::Null;
    for node in nodes {
        sums = node.api().check_sums().await;
    }
    let (feed, positions) = feed(&api).await;
    let (endpoints, paths) = endpoints(&api, &sums).await;
    let hearings = receivers.hearings();
    let in_flight = seen.iter().map(|seen| seen.in_flight(&hearings, &paths, &positions)).collect();
    // Of an endpoint that was made and not answered for, nobody knows since when it hears.
    let is_known = |endpoint: &Endpoint| {
        let mut known = promised.batches.iter().map(|(_, _, path)| path.as_str()).chain(DIALECTS);
        known.any(|path| path == endpoint.path)
    };
    let evidence = Evidence {
        in_flight,
        accepted: promised.accepted.clone(),
        batches: promised.batches.iter().map(|(id, contacts, _)| (id.clone(), *contacts)).collect(),
        endpoints: endpoints.into_iter().filter(is_known).collect(),
        feed,
        hearings,
    };
    let verdict = judge(&evidence);
    Report { evidence, verdict, answers: promised.answers }
}

impl Report {
    /// Prints the counts.
    pub fn print(&self, seen: &[Seen]) {
        let Self { evidence, verdict, answers } = self;
        for (seen, in_flight) in seen.iter().zip(&evidence.in_flight) {
            let again = verdict.again.iter().filter(|key| in_flight.contains(*key)).count();
            let count = in_flight.len();
            let Seen { fault, recovered, .. } = seen;
            let recovered = recovered.map(|after| format!(", settled after {after:.1?}")).unwrap_or_default();
            println!(
                "{fault}: {count} deliveries were heard and not settled, {again} of them came again{recovered}"
            );
        }
        let most: usize = evidence.in_flight.iter().map(HashSet::len).sum();
        println!(
            "  {} events and {} batches answered for; {} events in the feed; {} deliveries to {} endpoints, {} requests, \
             {} duplicates of at most {most}",
            evidence.accepted.len(),
            evidence.batches.len(),
            evidence.feed.len(),
            verdict.delivered,
            evidence.endpoints.len(),
            evidence.hearings.len(),
            verdict.again.len(),
        );
        println!("  {answers:?}");
    }

    /// Fails unless all is well.
    pub fn approve(&self) {
        let wrong = &self.verdict.wrong;
        assert!(
            wrong.is_empty(),
            "{} things are wrong, such as {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
        let is_strange = |status: &&u16| ![200, 201, 202, 503].contains(*status);
        let strange: Vec<&u16> = self.answers.by_status.keys().filter(is_strange).collect();
        assert!(strange.is_empty(), "{:?}", self.answers);
        assert_eq!(self.answers.without_retry_after, 0, "a 503 says when to come again");
    }
}

impl Seen {
    /// Of what was open: what receivers had heard by then and not refused.
    fn in_flight(
        &self,
        hearings: &[Hearing],
        paths: &HashMap<i64, String>,
        positions: &HashMap<i64, Fact>,
    ) -> Deliveries {
        let mut heard: HashMap<(&str, &Fact), isize> = HashMap::new();
        for hearing in hearings.iter().filter(|hearing| hearing.came <= self.moment) {
            let is_refused = hearing.answered.is_some_and(|(_, status)| status != 200);
            *heard.entry((&hearing.endpoint, &hearing.fact)).or_default() += isize::from(!is_refused);
        }
        let known = self.open.iter().filter_map(|(endpoint, event)| {
            let (path, fact) = paths.get(endpoint).zip(positions.get(event))?;
            let is_heard = heard.get(&(path.as_str(), fact)).is_some_and(|times| *times > 0);
            is_heard.then(|| (path.clone(), fact.clone()))
        });
        known.collect()
    }
}

/// Waits until nothing comes any more and nothing is pending: a batch that nobody got an answer for is taken in all the same,
/// and receivers hear of a delivery before the books do.
async fn settled(api: &Client) {
    let start = Instant::now();
    loop {
        let batches = api.get("/v1/batches?limit=100").await.expect(200).json();
        assert_eq!(batches["next_cursor"], Value::Null, "one page has them all");
        let is_taken_in = |batch: &Value| batch["status"] != "ingesting";
        let are_taken_in = batches["data"].as_array().expect("a list").iter().all(is_taken_in);
        let sums = api.get("/v1/reconciliation").await.expect(200).json();
        let is_settled = |sum: &Value| sum["pending"] == 0;
        if are_taken_in && sums["endpoints"].as_array().expect("a list").iter().all(is_settled) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "something stays under way: {sums} {batches}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The feed in its order, and what stands at each of its positions. It has no gap.
async fn feed(api: &Client) -> (Vec<Told>, HashMap<i64, Fact>) {
    let (mut feed, mut positions, mut after) = (Vec::new(), HashMap::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/events?limit=1000&after={after}")).await.expect(200).json();
        for event in page["data"].as_array().expect("a list") {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let position = number(Kind::Event, &event["id"]);
            let batch = text(&event["data"]["batch_id"]);
            let about =
                text(&event["data"]["call_id"]).or_else(|| batch.clone()).expect("it is about something");
            let fact = Fact::new(about, text(&event["type"]).expect("a type"));
            assert_eq!(usize::try_from(position).ok(), Some(feed.len() + 1), "the feed has no gap");
            positions.insert(position, fact.clone());
            feed.push(Told { fact, batch });
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => cursor.clone_into(&mut after),
            None => return (feed, positions),
        }
    }
}

/// All endpoints with what the books say that they were owed, and their paths by their numbers.
async fn endpoints(api: &Client, sums: &Value) -> (Vec<Endpoint>, HashMap<i64, String>) {
    let page = api.get("/v1/endpoints?limit=100").await.expect(200).json();
    assert_eq!(page["next_cursor"], Value::Null, "one page has them all");
    let (mut endpoints, mut paths) = (Vec::new(), HashMap::new());
    for endpoint in page["data"].as_array().expect("a list") {
        let path =
            endpoint["url"].as_str().and_then(|url| url.rsplit('/').next()).expect("a path").to_owned();
        let sums = sums["endpoints"].as_array().expect("a list");
        let sum = sums.iter().find(|sum| sum["endpoint_id"] == endpoint["id"]).expect("it has a sum");
        paths.insert(number(Kind::Endpoint, &endpoint["id"]), path.clone());
        endpoints.push(Endpoint {
            path,
            dialect: endpoint["dialect"].as_str().expect("a dialect").to_owned(),
            batch: endpoint["batch_id"].as_str().map(str::to_owned),
            owed: sum["owed"].as_u64().and_then(|owed| usize::try_from(owed).ok()).expect("a count"),
            delivered: sum["delivered"]
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
                .expect("a count"),
        });
    }
    (endpoints, paths)
}

fn number(kind: Kind, id: &Value) -> i64 {
    id::parse(kind, id.as_str().expect("an id")).expect("an id of that kind").1
}
