//! The stage of a fault test: nodes on a database, receivers, the load. It sees what is in flight when a fault strikes,
//! and in the end gathers what is known, has it judged, and prints the counts. Refuses to know how a fault is made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postcall::model::id::{self, Kind};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::database::{Database, Numbers};
use super::judge::{self, Endpoint, Evidence, Struck, Told};
use super::load::{self, Load};
use super::nodes::Node;
use super::receivers::{Hearing, Receivers};
use super::vendors::{self, DIALECTS};
use super::{Fact, PATIENCE};
use crate::harness::Client;

/// Events that are answered before the first fault.
const WARM_UP: usize = 150;

/// A fault, with what was known when it struck.
struct Seen {
    fault: String,
    start: Instant,
    /// Requests that were open at the receivers.
    requests: usize,
    /// Deliveries that were open in the books, and that nobody could settle since.
    open: HashSet<Numbers>,
    /// What came up to then was on its way.
    moment: usize,
    /// How long it took until they were settled.
    recovered: Option<Duration>,
}

/// The stage.
pub struct Stage {
    pub nodes: Vec<Node>,
    pub database: Database,
    pub receivers: Receivers,
    load: Option<Load>,
    seen: Vec<Seen>,
    start: Instant,
    _home: TempDir,
}

impl Stage {
    /// One node on the embedded store.
    pub async fn embedded() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let data = directory(&home, "node-a");
        let node = Node::start("node a", &data, &[]).await;
        Self::set(home, vec![node], Database::Embedded(data)).await
    }

    /// Makes sources and endpoints, begins the load, and waits until it flows.
    async fn set(home: TempDir, nodes: Vec<Node>, database: Database) -> Self {
        let receivers = Receivers::start().await;
        let api = nodes[0].api();
        let mut paths = BTreeMap::new();
        for dialect in DIALECTS {
            let made = api.source(vendors::source(dialect)).await;
            paths.insert(dialect, format!("/in/{}", made["id"].as_str().expect("an id")));
            let about = json!({"url": receivers.url(dialect), "dialect": dialect});
            api.endpoint(load::endpoint(about)).await;
        }
        let doors: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let load = Some(Load::begin(&doors, paths, &receivers));
        let start = Instant::now();
        let stage = Self { nodes, database, receivers, load, seen: Vec::new(), start, _home: home };
        stage.load().more_at_each(WARM_UP / stage.nodes.len()).await;
        stage
    }

    /// The load, until it is judged.
    pub fn load(&self) -> &Load {
        self.load.as_ref().expect("it is at work")
    }

    /// Notes what is in flight now, when a fault has struck and nobody can settle.
    pub async fn struck(&mut self, fault: &str) {
        let (start, requests) = (Instant::now(), self.receivers.under_way());
        let open = self.database.open_deliveries().await;
        let (fault, moment) = (fault.to_owned(), self.receivers.now());
        self.seen.push(Seen { fault, start, requests, open, moment, recovered: None });
    }

    /// Ends the load, waits until everything owed is delivered, and has it judged.
    pub async fn judge(mut self) {
        let flowing = self.start.elapsed();
        let promised = self.load.take().expect("it is judged once").end().await;
        let api = self.nodes[0].api();
        settled(&api).await;
        let mut owed = Value::Null;
        for node in &self.nodes {
            owed = node.api().check_sums().await;
        }
        let (feed, positions) = feed(&api).await;
        let (endpoints, paths) = endpoints(&api, &owed).await;
        let hearings = self.receivers.hearings();
        let struck = self.seen.iter().map(|seen| Struck {
            fault: seen.fault.clone(),
            in_flight: seen.in_flight(&hearings, &paths, &positions),
        });
        let is_known = |endpoint: &Endpoint| {
            let known = promised.batches.iter().map(|(_, _, path)| path.as_str()).chain(DIALECTS);
            known.into_iter().any(|path| path == endpoint.path)
        };
        let evidence = Evidence {
            accepted: promised.accepted.clone(),
            batches: promised.batches.iter().map(|(id, contacts, _)| (id.clone(), *contacts)).collect(),
            endpoints: endpoints.into_iter().filter(is_known).collect(),
            struck: struck.collect(),
            feed,
            hearings,
        };
        let verdict = judge::judge(&evidence);

        for (seen, struck) in self.seen.iter().zip(&evidence.struck) {
            let again = verdict.again.iter().filter(|key| struck.in_flight.contains(*key)).count();
            let recovered =
                seen.recovered.map(|after| format!(", settled after {after:.1?}")).unwrap_or_default();
            println!(
                "{}: {} requests open, {} deliveries heard and not settled, {again} of them came again{recovered}",
                seen.fault,
                seen.requests,
                struck.in_flight.len(),
            );
        }
        println!(
            "{} events answered 200 in {flowing:.1?} and {} batches; {} events in the feed, {} deliveries to {} endpoints, \
             {} requests, {} duplicates of at most {}; {:?}; took {:.1?}",
            evidence.accepted.len(),
            evidence.batches.len(),
            evidence.feed.len(),
            verdict.delivered,
            evidence.endpoints.len(),
            evidence.hearings.len(),
            verdict.again.len(),
            evidence.struck.iter().map(|struck| struck.in_flight.len()).sum::<usize>(),
            promised.answers,
            self.start.elapsed(),
        );
        let some: Vec<&String> = verdict.wrong.iter().take(20).collect();
        assert!(some.is_empty(), "{} things are wrong, such as {some:#?}", verdict.wrong.len());
        let strange: Vec<_> = promised
            .answers
            .by_status
            .keys()
            .filter(|status| ![200, 201, 202, 503].contains(*status))
            .collect();
        assert!(strange.is_empty(), "{:?}", promised.answers);
    }
}

impl Seen {
    /// Of what was open: what receivers had heard by then and not refused.
    fn in_flight(
        &self,
        hearings: &[Hearing],
        paths: &HashMap<i64, String>,
        positions: &HashMap<i64, Fact>,
    ) -> HashSet<(String, Fact)> {
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

fn directory(home: &TempDir, name: &str) -> PathBuf {
    let path = home.path().join(name);
    std::fs::create_dir(&path).expect("a directory");
    path
}

/// Waits until nothing is pending: the receivers hear of a delivery before the books do.
async fn settled(api: &Client) {
    let start = Instant::now();
    loop {
        let sums = api.get("/v1/reconciliation").await.expect(200).json();
        if sums["endpoints"].as_array().expect("a list").iter().all(|sum| sum["pending"] == 0) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "deliveries stay pending: {sums}");
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
