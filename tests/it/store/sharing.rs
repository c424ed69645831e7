//! Two nodes on one database: what one hears, the other may deliver, and nothing is done twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use postcall::ledger::Next;
use postcall::model::account::Limits;
use postcall::model::endpoint::EndpointState;
use postcall::model::secret::Credential;
use postcall::model::{DeliveryState, Endpoint, Outcome, Rights, Secret, Step};
use postcall::store::{EndpointRef, KeyUse, Notification, Owned, Revoked, Store, StoreError};
use serde_json::json;

use super::postgres::Postgres;
use super::scene::{Scene, attempted, endpoint, new_key, numbers, says, source};
use crate::api_rig::House;
use crate::harness::PATIENCE;
use crate::home::Home;

const ENDED: Step = Step::Ended(Outcome::Completed);

/// A scene with a second node on its database.
struct Two {
    scene: Scene<Postgres>,
    nodes: [Arc<dyn Store>; 2],
}

impl Two {
    async fn new() -> Self {
        let scene = Scene::<Postgres>::new().await;
        let nodes = [Arc::clone(&scene.store), scene.place.join()];
        Self { scene, nodes }
    }

    /// The scene as one of the nodes plays it.
    fn at(&mut self, node: usize) -> &mut Scene<Postgres> {
        self.scene.store = Arc::clone(&self.nodes[node]);
        &mut self.scene
    }

    /// Ends the lease of the node that came first.
    fn end_first_lease(&self) {
        let statement = "UPDATE nodes SET expires = 0 WHERE node = (SELECT min(node) FROM nodes)";
        self.scene.place.database.sql(statement);
    }

    async fn finish(mut self) {
        self.nodes[1].close().await.unwrap();
        self.at(0);
        self.scene.finish().await;
    }
}

/// Tries until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_write_at_once_leave_no_gap_and_claim_nothing_twice() {
    let mut two = Two::new().await;
    let target = two.scene.endpoint(|_| {}).await;
    two.scene.room.set(0);
    let (scene, nodes) = (&two.scene, &two.nodes);
    let hearing = (0..2).map(async |node| {
        for call in 0..20 {
            let body = scene.incoming(says(&format!("{node}-{call}"), ENDED));
            let group =
                postcall::store::Group { now: scene.now, incoming: vec![body], settlements: Vec::new() };
            nodes[node].commit(Arc::new(group), Arc::clone(&scene.room) as _).await.unwrap();
        }
    });
    join_all(hearing).await;
    let positions: Vec<i64> = scene.feed().await.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=40).collect::<Vec<_>>());

    let claiming = (0..8).map(async |turn| {
        let places = scene.room.places(7);
        nodes[turn % 2].claim(scene.target(target), scene.now, places).await.unwrap().owned
    });
    let claimed: Vec<Vec<Owned>> = join_all(claiming).await;
    let mut all: Vec<i64> = claimed.iter().flat_map(|owned| numbers(owned)).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=40).collect::<Vec<_>>());
    for (turn, owned) in claimed.iter().enumerate() {
        let now = two.scene.now;
        let settled = owned.iter().map(|owned| attempted(owned, now, Next::Delivered)).collect();
        two.at(turn % 2).commit(Vec::new(), settled).await;
    }
    assert_eq!(two.scene.sum(target).await.delivered, 40);
    two.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_lease_is_over_settles_nothing() {
    let mut two = Two::new().await;
    let target = two.scene.endpoint(|_| {}).await;
    let mut notifications = two.nodes[0].notifications().expect("a node of many hears of the others");
    let owned = two.at(0).hear(["a", "b"].map(|call| says(call, ENDED))).await.owned;
    assert_eq!(owned.len(), 2);
    two.at(1).tidy_up().await;
    assert!(two.scene.claim(target, 9).await.is_empty(), "they have an owner");

    two.end_first_lease();
    two.scene.tidy_up().await;
    let taken = two.scene.claim(target, 9).await;
    assert_eq!(numbers(&taken), numbers(&owned));
    // It may be told that it lapsed; whatever it is told, what it brings is not in the books.
    let now = two.scene.now;
    let late = || owned.iter().map(|owned| attempted(owned, now, Next::Delivered)).collect();
    let _ = two.at(0).try_commit(Vec::new(), late()).await;
    until("the node is told", async || matches!(notifications.try_recv(), Ok(Notification::Lapsed))).await;
    until("it goes on with a new lease", async || two.scene.store.ready().await.is_ok()).await;
    assert!(!two.nodes[0].outlasts(Duration::ZERO), "its queues still have what was the last one's");
    two.nodes[0].queues_emptied();
    assert!(two.nodes[0].outlasts(Duration::ZERO));
    let _ = two.scene.try_commit(Vec::new(), late()).await;
    assert_eq!(two.scene.sum(target).await.delivered, 0);
    assert_eq!(two.scene.state(taken[0].delivery).await, DeliveryState::Pending);

    let settled = taken.iter().map(|owned| attempted(owned, now, Next::Delivered)).collect();
    two.at(1).commit(Vec::new(), settled).await;
    assert_eq!(two.scene.sum(target).await.delivered, 2);
    let fresh = two.at(0).step("c", ENDED).await;
    two.scene.settle(&fresh[0], Next::Delivered).await;
    assert_eq!(two.scene.sum(target).await.delivered, 3);
    two.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_in_good_order_leaves_its_work_at_once() {
    let mut two = Two::new().await;
    let target = two.scene.endpoint(|_| {}).await;
    let owned = two.at(1).hear(["a", "b"].map(|call| says(call, ENDED))).await.owned;
    two.nodes[1].close().await.unwrap();
    two.at(0).tidy_up().await;
    let taken = two.scene.claim(target, 9).await;
    assert_eq!(numbers(&taken), numbers(&owned));
    for owned in &taken {
        two.scene.settle(owned, Next::Delivered).await;
    }
    two.scene.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_on_one_node_counts_on_all() {
    let mut two = Two::new().await;
    let [first, second] = two.nodes.clone();
    let made = second.put_endpoint(endpoint(two.scene.account), None).await.unwrap().unwrap().number;
    assert_eq!(two.at(0).step("a", ENDED).await.len(), 1, "from the next event on, wherever it comes");
    assert_eq!(two.scene.configured(made).number, made);
    let target = two.scene.target(made);
    first.disable_endpoint(target, "by hand".to_owned(), two.scene.now).await.unwrap();
    two.at(1).step("b", ENDED).await;
    assert_ne!(two.scene.configured(made).state, EndpointState::Active, "it has read what changed");

    let hash = [9; 32];
    let key = first.create_key(new_key(two.scene.account, "of both", Rights::PLAIN, hash)).await.unwrap();
    until("the key opens there too", async || second.find_key(hash).await.unwrap().is_some()).await;
    let at = |seconds| two.scene.now.after(Duration::from_secs(seconds));
    let used = |at| KeyUse { account: two.scene.account, number: key.number, at };
    second.note_key_uses(vec![used(at(60))]).await.unwrap();
    first.note_key_uses(vec![used(at(30))]).await.unwrap();
    let last = async || first.find_key(hash).await.unwrap().and_then(|key| key.last_used_at);
    until("the later use stands", async || last().await == Some(at(60))).await;
    let revoked = second.revoke_key(two.scene.account, key.number, two.scene.now).await;
    assert_eq!(revoked, Ok(Revoked::Done));
    until("and no more", async || first.find_key(hash).await.unwrap().is_none()).await;
    let theirs = second.create_account("theirs".to_owned(), two.scene.now).await.unwrap().unwrap();
    until("the account is known", async || first.config(theirs.key).is_some()).await;
    two.nodes[1].close().await.unwrap();
    two.at(0).store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_set_is_not_undone() {
    let two = Two::new().await;
    let [first, second] = two.nodes.clone();
    let (number, account) = (two.scene.endpoint(|_| {}).await, two.scene.account);
    second.catch_up().await.unwrap();
    // Both change what they have read.
    let read = |node: &Arc<dyn Store>| {
        let config = node.config(account).unwrap();
        (Endpoint::clone(config.endpoint(number).unwrap()), config.revision)
    };
    let ((ours, ours_from), (theirs, theirs_from)) = (read(&first), read(&second));
    assert_eq!((&ours, ours_from), (&theirs, theirs_from));
    let secret = |text: &str| Credential::of_secret(Secret::new(text.as_bytes().to_vec()));
    let rotated = Endpoint { credential: secret("the new one"), ..ours };
    first.put_endpoint(rotated.clone(), Some(ours_from)).await.unwrap().unwrap();
    let moved = Endpoint { url: "https://elsewhere.example/".to_owned(), ..theirs };
    assert_eq!(second.put_endpoint(moved, Some(theirs_from)).await, Err(StoreError::Stale));
    let limits = Limits { endpoints: Some(5), ..Limits::default() };
    assert_eq!(second.set_limits(account, limits, Some(theirs_from)).await, Err(StoreError::Stale));
    assert_eq!(second.put_source(source(account), Some(theirs_from)).await, Err(StoreError::Stale));
    // Made again from what is there, it goes.
    second.catch_up().await.unwrap();
    let (theirs, theirs_from) = read(&second);
    assert_eq!(theirs.credential, rotated.credential);
    let moved = Endpoint { url: "https://elsewhere.example/".to_owned(), ..theirs };
    second.put_endpoint(moved, Some(theirs_from)).await.unwrap().unwrap();
    first.catch_up().await.unwrap();
    let (both, _) = read(&first);
    assert_eq!((both.url.as_str(), both.credential), ("https://elsewhere.example/", rotated.credential));
    two.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_leave_one_key_that_opens_everything() {
    let two = Two::new().await;
    let account = two.scene.account;
    for round in 0..10 {
        let mut keys = Vec::new();
        for of in 0..2 {
            let hash = [10 + 2 * round + of; 32];
            keys.push(
                two.nodes[0].create_key(new_key(account, "admin", Rights::ALL, hash)).await.unwrap().number,
            );
        }
        let revoking = (0..2).map(|at| two.nodes[at].revoke_key(account, keys[at], two.scene.now));
        let mut revoked: Vec<Revoked> = join_all(revoking).await.into_iter().map(Result::unwrap).collect();
        revoked.sort_by_key(|revoked| *revoked == Revoked::Last);
        let is_first = round == 0;
        // From the second round on there is the one that the first has left.
        let second = if is_first { Revoked::Last } else { Revoked::Done };
        assert_eq!(revoked, [Revoked::Done, second]);
        let left = two.nodes[1].keys(account).await.unwrap();
        assert_eq!(left.iter().filter(|key| key.opens_everything()).count(), 1);
    }
    two.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_two_nodes_change_at_once_all_stand() {
    let two = Two::new().await;
    let [here, there] = [
        House::over(Arc::clone(&two.nodes[0]), Home::new(), |_| {}).await,
        House::over(Arc::clone(&two.nodes[1]), Home::new(), |_| {}).await,
    ];
    let endpoint = here.endpoint(&here.key, "aloro").await;
    let path = format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap());
    let (rotate, key) = (format!("{path}/rotate-secret"), here.key.as_str());
    two.nodes[1].catch_up().await.unwrap();
    for round in 1..=10_u8 {
        let new = json!({ "secret": format!("secret of round {round}"), "grace_seconds": 0 });
        let (rate, timeout) =
            (json!({ "rate_limit_per_second": round }), json!({ "timeout_seconds": round }));
        let agent = json!({ "webhooks": { "postCall": format!("https://calls.example/{round}") } });
        let answers = tokio::join!(
            here.call(key, "POST", &rotate, &new),
            there.call(key, "PATCH", &path, &rate),
            there.call(key, "PATCH", &path, &timeout),
            here.call(key, "PUT", "/agents/one", &agent),
            there.call(key, "PUT", "/agents/one", &agent),
        );
        for answer in [&answers.0, &answers.1, &answers.2, &answers.3, &answers.4] {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        for (node, house) in two.nodes.iter().zip([&here, &there]) {
            node.catch_up().await.unwrap();
            let shown = house.call(key, "GET", &path, &json!({})).await.json();
            let set = ["rate_limit_per_second", "timeout_seconds"].map(|field| shown[field].as_f64());
            assert_eq!(set, [Some(f64::from(round)); 2]);
            let config = node.config(two.scene.account).unwrap();
            let secrets = config.endpoint(1).unwrap().credential.secrets.clone();
            let newest = secrets.last().unwrap().secret.expose().to_vec();
            assert_eq!(newest, format!("secret of round {round}").into_bytes());
            assert_eq!(config.endpoints.len(), 2, "the agent has one of its own");
            assert_eq!(config.endpoints[1].url, format!("https://calls.example/{round}"));
        }
    }
    two.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_the_feed_hears_of_all_nodes() {
    let mut two = Two::new().await;
    let mut following = two.nodes[1].follow(two.scene.account).await.unwrap();
    two.at(0).step("a", ENDED).await;
    let moved = tokio::time::timeout(PATIENCE, following.wait_for(|position| *position >= 1)).await;
    assert_eq!(*moved.expect("in time").expect("the node lives"), 1);
    assert_eq!(two.at(1).feed().await.len(), 1);
    two.finish().await;
}

/// News travels for a moment; whoever is about to say that something is not there does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_before_is_known_after_catching_up() {
    let two = Two::new().await;
    let account = two.scene.account;
    for turn in 0..50 {
        let [here, there] = [&two.nodes[turn % 2], &two.nodes[1 - turn % 2]];
        let made = here.put_source(source(account), None).await.unwrap().unwrap();
        there.catch_up().await.unwrap();
        let known = there.config(account).unwrap();
        assert!(known.source(made.number).is_some(), "source {} of turn {turn}", made.number);
    }
    two.finish().await;
}

/// What a node gives back after its lease was over may be another's by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_gives_back_only_what_is_its_own() {
    let mut two = Two::new().await;
    let target = two.scene.endpoint(|_| {}).await;
    let target = two.scene.target(target);
    let owned = two.scene.step("a", ENDED).await;
    assert_eq!(numbers(&owned), [1]);
    two.end_first_lease();
    let theirs = until_claimed(&two, target).await;
    assert_eq!(numbers(&theirs), [1], "taken over");
    until("the first node has a lease again", async || {
        two.nodes[0].release(two.scene.account, vec![1]).await.is_ok()
    })
    .await;
    let claimed = two.nodes[0].claim(target, two.scene.now, two.scene.room.places(9)).await.unwrap();
    assert!(claimed.owned.is_empty(), "it is the second node's");
    two.at(1).settle(&theirs[0], Next::Delivered).await;
    assert_eq!(two.scene.state(1).await, DeliveryState::Delivered);
    two.finish().await;
}

/// The second node does chores until there is something for it to claim.
async fn until_claimed(two: &Two, target: EndpointRef) -> Vec<Owned> {
    let start = Instant::now();
    loop {
        two.nodes[1].maintain(two.scene.now).await.unwrap();
        let places = two.scene.room.places(9);
        let owned = two.nodes[1].claim(target, two.scene.now, places).await.unwrap().owned;
        if !owned.is_empty() {
            return owned;
        }
        assert!(start.elapsed() < PATIENCE, "nothing was taken over");
    }
}
