//! The dispatcher of one node among many: what it does by its lease, and by what the others did.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use postcall::clock::System;
use postcall::delivery::attempt::Attempter;
use postcall::delivery::dispatcher::Dispatcher;
use postcall::delivery::guard::Guard;
use postcall::delivery::wire::Wire;
use postcall::metrics::Metrics;
use postcall::model::{AccountKey, DeliveryState, Endpoint, Outcome, Step, Time};
use postcall::store::ingest::group::GroupWriter;
use postcall::store::{Answer, Claimed, Claims, EndpointRef, Notification, Place};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::scene::{Fixture, Scene, done, numbers, says};
use crate::harness::{Got, PATIENCE, Receiver};

const ENDED: Step = Step::Ended(Outcome::Completed);

/// Claims with a lease and notifications as a test sets them.
struct Leased {
    claims: Arc<dyn Claims>,
    lease: Mutex<Duration>,
    lease_asked: Notify,
    notifications: Mutex<Option<UnboundedReceiver<Notification>>>,
    notify: UnboundedSender<Notification>,
}

impl Leased {
    fn over(claims: Arc<dyn Claims>) -> Arc<Self> {
        let (notify, notifications) = mpsc::unbounded_channel();
        Arc::new(Self {
            claims,
            lease: Mutex::new(Duration::MAX),
            lease_asked: Notify::new(),
            notifications: Mutex::new(Some(notifications)),
            notify,
        })
    }

    /// The lease lasts for attempts of this length at most.
    fn lasts_for(&self, attempt: Duration) {
        *self.lease.lock().unwrap() = attempt;
    }

    /// Ends when somebody asks from now on whether the lease lasts.
    fn asked_for_lease(&self) -> impl Future<Output = ()> {
        self.lease_asked.notified()
    }

    /// Notifies the node of what others did.
    fn notify(&self, notification: Notification) {
        self.notify.send(notification).expect("somebody listens");
    }
}

impl Claims for Leased {
    fn claim(&self, endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed> {
        self.claims.claim(endpoint, now, places)
    }

    fn release(&self, account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()> {
        self.claims.release(account, deliveries)
    }

    fn next_due(&self, endpoint: EndpointRef) -> Answer<'_, Option<Time>> {
        self.claims.next_due(endpoint)
    }

    fn outlasts(&self, attempt: Duration) -> bool {
        self.lease_asked.notify_waiters();
        attempt <= *self.lease.lock().unwrap()
    }

    fn notifications(&self) -> Option<UnboundedReceiver<Notification>> {
        self.notifications.lock().unwrap().take()
    }
}

/// A node whose lease and notifications a test sets.
struct Node {
    claims: Arc<Leased>,
    writer: GroupWriter,
    receiver: Receiver,
}

impl Node {
    async fn over<F: Fixture>(scene: &Scene<F>) -> Self {
        let (store, claims) = (&scene.store, Leased::over(scene.store.clone()));
        let (clock, metrics) = (System::shared(), Arc::new(Metrics::new()));
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let attempter = Attempter {
            wire: Wire::new(guard, None).unwrap(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            configs: store.clone(),
            public_url: "https://calls.example".to_owned(),
        };
        let dispatcher = Dispatcher::new(
            claims.clone(),
            store.clone(),
            Arc::clone(&clock),
            Arc::clone(&metrics),
            attempter,
        );
        let (writer, _) = GroupWriter::start(store.clone(), Arc::new(dispatcher.clone()), clock, metrics);
        drop(dispatcher.start(writer.clone()));
        Self { claims, writer, receiver: Receiver::start().await }
    }

    /// Makes an endpoint of this node's receiver, with this timeout in seconds.
    async fn endpoint<F: Fixture>(&self, scene: &Scene<F>, path: &str, timeout: u64) -> i64 {
        let set = |endpoint: &mut Endpoint| {
            endpoint.url = self.receiver.url(path);
            endpoint.delivering.timeout = Some(Duration::from_secs(timeout));
            endpoint.delivering.max_in_flight = Some(1);
        };
        scene.endpoint(set).await
    }

    /// Calls end, and this node hears of it.
    async fn hear<F: Fixture>(&self, scene: &Scene<F>, calls: &[&str]) {
        for call in calls {
            self.writer.record(scene.incoming(says(call, ENDED))).await.unwrap();
        }
    }

    /// The calls that the receiver heard of, once it is so many.
    async fn told(&self, count: usize) -> Vec<String> {
        let call = |got: &Got| got.json()["data"]["call_id"].as_str().unwrap().to_owned();
        self.receiver.wait_for(count).await.iter().map(call).collect()
    }
}

/// Waits until deliveries are in a state.
async fn wait_for<F: Fixture>(scene: &Scene<F>, deliveries: &[i64], state: DeliveryState) {
    let reached = async {
        for &delivery in deliveries {
            while scene.state(delivery).await != state {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("it gets there");
}

pub async fn no_attempt_starts_that_the_lease_may_not_outlast<F: Fixture>(scene: Scene<F>) {
    let node = Node::over(&scene).await;
    node.endpoint(&scene, "/long", 30).await;
    node.endpoint(&scene, "/short", 10).await;
    node.claims.lasts_for(Duration::from_secs(10));
    // Both are in memory; the long one would go first.
    node.hear(&scene, &["a", "b"]).await;
    let got = node.receiver.wait_for(2).await;
    assert!(got.iter().all(|got| got.path == "/short"), "{got:?}");
    node.claims.lasts_for(Duration::from_secs(30));
    let got = node.receiver.wait_until(|got| got.iter().filter(|got| got.path == "/long").count() == 2).await;
    assert_eq!(got.len(), 4);
    wait_for(&scene, &[1, 2, 3, 4], DeliveryState::Delivered).await;
    scene.finish().await;
}

pub async fn a_short_wait_counts_beside_a_long_one<F: Fixture>(scene: Scene<F>) {
    let node = Node::over(&scene).await;
    let endpoint = node.endpoint(&scene, "/", 10).await;
    let rated = async |rate| {
        let mut changed = scene.configured(endpoint).as_ref().clone();
        changed.delivering.rate_limit = rate;
        scene.store.put_endpoint(changed, None).await.unwrap().unwrap();
    };
    rated(Some(1.0 / 3600.0)).await;
    node.hear(&scene, &["a", "b"]).await;
    assert_eq!(node.told(1).await, ["a"], "the other one waits for an hour");
    wait_for(&scene, &[1], DeliveryState::Delivered).await;
    // The limit is taken away while there is no lease, which is waited for too.
    node.claims.lasts_for(Duration::ZERO);
    rated(None).await;
    let asked = node.claims.asked_for_lease();
    node.claims.notify(Notification::Wake(vec![scene.target(endpoint)]));
    asked.await;
    node.claims.lasts_for(Duration::MAX);
    assert_eq!(node.told(2).await, ["a", "b"]);
    wait_for(&scene, &[1, 2], DeliveryState::Delivered).await;
    scene.finish().await;
}

pub async fn a_lapse_empties_the_queues_and_gives_back_what_was_in_them<F: Fixture>(scene: Scene<F>) {
    let node = Node::over(&scene).await;
    let endpoint = node.endpoint(&scene, "/", 10).await;
    node.receiver.shut();
    node.hear(&scene, &["a", "b", "c"]).await;
    node.receiver.wait_for_held(1).await;
    node.claims.lasts_for(Duration::ZERO);
    node.claims.notify(Notification::Lapsed);
    // Another node finds what was in memory, and not what is on the wire.
    let (target, now) = (scene.target(endpoint), System::shared().now());
    let theirs = tokio::time::timeout(PATIENCE, async {
        let mut theirs = Vec::new();
        while theirs.len() < 2 {
            let claimed = scene.store.claim(target, now, scene.room.places(9)).await.unwrap();
            theirs.extend(numbers(&claimed.owned));
        }
        theirs
    });
    assert_eq!(theirs.await.expect("given back"), [2, 3]);
    scene.store.release(scene.account, vec![2, 3]).await.unwrap();
    // With a lease once more this node claims what there is.
    node.claims.lasts_for(Duration::MAX);
    node.receiver.open();
    assert_eq!(node.told(3).await, ["a", "b", "c"]);
    wait_for(&scene, &[1, 2, 3], DeliveryState::Delivered).await;
    scene.finish().await;
}

pub async fn notifications_of_other_nodes_wake<F: Fixture>(scene: Scene<F>) {
    let node = Node::over(&scene).await;
    let endpoint = node.endpoint(&scene, "/", 10).await;
    scene.room.set(0);
    for (call, notification) in
        [("a", Notification::Wake(vec![scene.target(endpoint)])), ("b", Notification::WakeAll)]
    {
        assert_eq!(
            scene.hear([says(call, ENDED)]).await.recorded,
            [done(postcall::dialect::ReceiptKind::Recorded, 1)]
        );
        node.claims.notify(notification);
        let told = if call == "a" { 1 } else { 2 };
        assert_eq!(node.told(told).await.last().unwrap(), call);
    }
    wait_for(&scene, &[1, 2], DeliveryState::Delivered).await;
    scene.finish().await;
}

pub async fn what_another_node_called_off_is_not_sent<F: Fixture>(scene: Scene<F>) {
    let node = Node::over(&scene).await;
    let endpoint = node.endpoint(&scene, "/", 10).await;
    node.receiver.shut();
    node.hear(&scene, &["a", "b", "c"]).await;
    node.receiver.wait_for_held(1).await;
    node.claims.notify(Notification::CalledOff(vec![(scene.target(endpoint), 2)]));
    // Notifications are acted upon in their order, and this one can be seen.
    let other = node.endpoint(&scene, "/other", 10).await;
    scene.room.set(0);
    scene.hear([says("d", ENDED)]).await;
    node.claims.notify(Notification::Wake(vec![scene.target(other)]));
    node.receiver.wait_until(|got| got.iter().any(|got| got.path == "/other")).await;
    node.receiver.open();
    let got = node.receiver.wait_until(|got| got.iter().filter(|got| got.path == "/").count() == 2).await;
    let calls: Vec<String> = got
        .iter()
        .filter(|got| got.path == "/")
        .map(|got| got.json()["data"]["call_id"].to_string())
        .collect();
    assert_eq!(calls, ["\"a\"", "\"c\""]);
}
