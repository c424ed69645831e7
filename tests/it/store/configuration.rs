//! Accounts, keys, sources and endpoints: kept as they were given, shown at once, and still there after a crash.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use postcall::ledger::Next;
use postcall::model::account::{Limited, Limits};
use postcall::model::endpoint::{Delivering, EndpointState, Part, Scope, Shape, Wait};
use postcall::model::secret::{Credential, DatedSecret};
use postcall::model::{
    AccountKey, DialectName, Endpoint, EventType, Outcome, Right, Rights, Secret, Source, Step, Text,
};
use postcall::store::batches::{Given, NewBatch, Opened};
use postcall::store::{EndpointRef, KeyUse, NewKey, Revoked, StoreError};

use super::scene::{Fixture, Scene, endpoint, new_key, numbers, says, source};

const ENDED: Step = Step::Ended(Outcome::Completed);

pub async fn accounts_are_found_by_key_and_tag<F: Fixture>(mut scene: Scene<F>) {
    let made = scene.store.create_account("Acme".to_owned(), scene.now).await.unwrap().unwrap();
    assert_eq!((made.name.as_str(), made.created_at), ("Acme", scene.now));
    assert_eq!(
        scene.store.create_account("Acme".to_owned(), scene.now).await.unwrap(),
        None,
        "the name is taken"
    );
    let link = ring::hmac::sign(scene.store.link_key(), b"x");
    for reopened in [false, true] {
        if reopened {
            scene.crash().await;
        }
        let names: Vec<String> =
            scene.store.accounts().iter().map(|config| config.account.name.clone()).collect();
        assert_eq!(names, ["default", "Acme"]);
        assert_eq!(scene.store.config(made.key).unwrap().account, made);
        assert_eq!(scene.store.config_by_tag(made.tag).unwrap().account, made);
        let default = scene.store.config(AccountKey::DEFAULT).unwrap();
        assert_ne!(default.account.tag, made.tag);
        assert!(scene.store.config(AccountKey(99)).is_none());
        assert!(scene.store.config_by_tag(postcall::model::id::Tag(12)).is_none());
        let again = ring::hmac::sign(scene.store.link_key(), b"x");
        assert_eq!(again.as_ref(), link.as_ref(), "links outlive a restart");
    }
    scene.finish().await;
}

pub async fn keys_open_until_they_are_revoked<F: Fixture>(mut scene: Scene<F>) {
    let (mine, other) = (scene.account, scene.other_account("other").await);
    let make = async |account, name: &str, rights, hash| {
        let expires_at = (name == "crm").then(|| scene.now.after(Duration::from_secs(90)));
        scene.store.create_key(NewKey { expires_at, ..new_key(account, name, rights, hash) }).await
    };
    let dialer: Rights = [Right::Ingest].into_iter().collect();
    let admin = make(mine, "ops", Rights::ALL, [1; 32]).await.unwrap();
    let plain = make(mine, "crm", Rights::PLAIN, [2; 32]).await.unwrap();
    let theirs = make(other, "theirs", dialer, [3; 32]).await.unwrap();
    assert_eq!((admin.number, plain.number, theirs.number), (1, 2, 1));
    assert_eq!((admin.rights, plain.rights, theirs.rights), (Rights::ALL, Rights::PLAIN, dialer));
    assert_eq!(plain.expires_at, Some(scene.now.after(Duration::from_secs(90))));
    assert!(matches!(make(mine, "twice", Rights::PLAIN, [1; 32]).await, Err(StoreError::Data(_))));
    assert!(matches!(make(AccountKey(77), "nobody", Rights::PLAIN, [4; 32]).await, Err(StoreError::Data(_))));
    scene.crash().await;
    let store = scene.store.clone();
    assert_eq!(store.keys(mine).await.unwrap(), [admin.clone(), plain.clone()]);
    assert_eq!(store.keys(other).await.unwrap(), std::slice::from_ref(&theirs));
    assert_eq!(store.find_key([2; 32]).await.unwrap(), Some(plain.clone()));
    assert_eq!(store.find_key([3; 32]).await.unwrap(), Some(theirs));
    assert_eq!(store.find_key([4; 32]).await.unwrap(), None);
    assert_eq!(
        store.revoke_key(other, plain.number, scene.now).await,
        Ok(Revoked::Missing),
        "not theirs to revoke"
    );
    assert_eq!(store.revoke_key(mine, plain.number, scene.now).await, Ok(Revoked::Done));
    assert_eq!(store.revoke_key(mine, plain.number, scene.now).await, Ok(Revoked::Missing));
    assert_eq!(store.find_key([2; 32]).await.unwrap(), None);
    assert_eq!(store.keys(mine).await.unwrap(), [admin]);
    scene.finish().await;
}

pub async fn the_last_use_of_a_key_is_kept<F: Fixture>(mut scene: Scene<F>) {
    let (mine, other) = (scene.account, scene.other_account("other").await);
    for (account, hash) in [(mine, [1; 32]), (mine, [2; 32]), (other, [3; 32])] {
        scene.store.create_key(new_key(account, "k", Rights::PLAIN, hash)).await.unwrap();
    }
    let now = scene.now;
    let at = |seconds| now.after(Duration::from_secs(seconds));
    let usage = |account, number, seconds| KeyUse { account, number, at: at(seconds) };
    let uses = vec![usage(other, 1, 5), usage(mine, 2, 7), usage(mine, 99, 8)];
    scene.store.note_key_uses(uses).await.unwrap();
    scene.store.note_key_uses(vec![usage(mine, 2, 6)]).await.unwrap();
    scene.store.note_key_uses(Vec::new()).await.unwrap();
    scene.crash().await;
    let mut last = Vec::new();
    for hash in [[1; 32], [2; 32], [3; 32]] {
        last.push(scene.store.find_key(hash).await.unwrap().unwrap().last_used_at);
    }
    assert_eq!(last, [None, Some(at(7)), Some(at(5))], "the latest, each its own");
    let listed: Vec<_> =
        scene.store.keys(mine).await.unwrap().into_iter().map(|key| key.last_used_at).collect();
    assert_eq!(listed, last[..2]);
    scene.finish().await;
}

pub async fn sources_are_kept_whole<F: Fixture>(mut scene: Scene<F>) {
    let mut wanted = Source {
        name: "Dialer Süd".to_owned(),
        dialect: DialectName::Cllr,
        credential: Credential {
            secrets: vec![
                DatedSecret {
                    secret: Secret::new("old"),
                    active_from: scene.now,
                    expires_at: Some(scene.later(9)),
                },
                DatedSecret { secret: Secret::new([0, 255]), active_from: scene.later(5), expires_at: None },
            ],
            bearer_token: Some(Secret::new("bearer")),
        },
        url_token: Some(Secret::new("token")),
        lost_after: Some(std::time::Duration::from_secs(90)),
        ..source(scene.account)
    };
    let made = scene.store.put_source(wanted.clone(), None).await.unwrap().unwrap();
    (wanted.number, wanted.id) = (made.number, made.id.clone());
    assert!(made.number != scene.source && made.id.starts_with("src_"));
    for change in 0..3 {
        if change == 1 {
            wanted.name = "Dialer Nord".to_owned();
            wanted.url_token = None;
            wanted.credential = Credential::default();
            scene.store.put_source(wanted.clone(), None).await.unwrap().unwrap();
        }
        if change == 2 {
            scene.crash().await;
        }
        let config = scene.store.config(scene.account).unwrap();
        assert_eq!(**config.source(wanted.number).unwrap(), wanted);
        assert_eq!(config.sources.len(), 2);
    }
    assert_eq!(scene.store.delete_source(scene.account, wanted.number, scene.now).await, Ok(true));
    assert_eq!(scene.store.delete_source(scene.account, wanted.number, scene.now).await, Ok(false));
    assert!(scene.store.config(scene.account).unwrap().source(wanted.number).is_none());
    assert_eq!(scene.store.put_source(wanted.clone(), None).await.unwrap(), None, "gone is gone");
    let next = scene.store.put_source(source(scene.account), None).await.unwrap().unwrap();
    assert_eq!(next.number, wanted.number + 1, "no number is used twice");
    assert_eq!(scene.store.put_source(source(AccountKey(77)), None).await.unwrap(), None);
    scene.crash().await;
    let config = scene.store.config(scene.account).unwrap();
    assert_eq!(config.sources.iter().map(|source| source.number).collect::<Vec<_>>(), [1, 3]);
    scene.finish().await;
}

/// Also with as many askers at a time as there are, and after a crash; what a batch brings along is beside it.
pub async fn an_account_has_no_more_than_it_may<F: Fixture>(mut scene: Scene<F>) {
    let limits = Limits { endpoints: Some(3), sources: Some(2), keys: Some(2) };
    let account = scene.store.set_limits(scene.account, limits, None).await.unwrap().unwrap();
    assert_eq!(account.limits, limits);
    assert_eq!(scene.store.set_limits(AccountKey(77), limits, None).await, Ok(None));
    let there = scene.store.config(scene.account).unwrap();
    let (endpoints, sources) = (there.endpoints.len(), there.sources.len());
    let keys = scene.store.keys(scene.account).await.unwrap().len();
    let store = Arc::clone(&scene.store);
    let asked = (0..10).map(|_| store.put_endpoint(endpoint(scene.account), None));
    let made = join_all(asked).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(endpoints + made, 3);
    scene.crash().await;
    let more = scene.store.put_endpoint(endpoint(scene.account), None).await;
    assert_eq!(more, Err(StoreError::LimitReached(Limited::Endpoints, 3)));
    for _ in sources..2 {
        scene.store.put_source(source(scene.account), None).await.unwrap().unwrap();
    }
    let more = scene.store.put_source(source(scene.account), None).await;
    assert_eq!(more, Err(StoreError::LimitReached(Limited::Sources, 2)));
    let key = async |chance: u8| {
        scene.store.create_key(new_key(scene.account, "k", Rights::PLAIN, [chance; 32])).await
    };
    for number in keys..2 {
        key(u8::try_from(number).unwrap()).await.unwrap();
    }
    assert_eq!(key(200).await, Err(StoreError::LimitReached(Limited::Keys, 2)));

    let opened = scene.store.open_batch(NewBatch {
        account: scene.account,
        given: Given::default(),
        contacts: 1,
        max_attempts: 1,
        lost_after: None,
        created_at: scene.now,
    });
    let Opened::As(batch) = opened.await.unwrap() else { panic!("there is room") };
    let brought = vec![endpoint(scene.account), endpoint(scene.account)];
    scene.store.begin_batch(scene.account, batch, brought, Secret::new("s")).await.unwrap();
    let config = scene.store.config(scene.account).unwrap();
    assert_eq!(config.endpoints.iter().filter(|endpoint| endpoint.of_batch).count(), 2);
    let first = config.endpoints.iter().find(|endpoint| !endpoint.of_batch).unwrap().number;
    assert_eq!(scene.store.delete_endpoint(scene.account, first, scene.now).await, Ok(true));
    assert!(scene.store.put_endpoint(endpoint(scene.account), None).await.is_ok(), "one goes, one comes");
    assert!(scene.store.put_endpoint(endpoint(scene.account), None).await.is_err());
    scene.finish().await;
}

pub async fn endpoints_are_kept_whole<F: Fixture>(mut scene: Scene<F>) {
    let mut wanted = Endpoint {
        url: "https://user:pass@crm.example/hook?key=1".to_owned(),
        dialect: DialectName::Aloro,
        shape: Shape { include_recording: false },
        events: Some(vec![EventType::CallEnded, EventType::BatchFailed]),
        scope: Scope {
            agent_id: Some(Text::from_bytes(&b"\xed\xa0\xbd"[..])),
            campaign_id: Some(Text::from("c")),
            batch_id: Some(Text::from("")),
        },
        completed_only: true,
        ordered: false,
        headers: vec![("X-Key".to_owned(), "1".to_owned()), ("x-key".to_owned(), "2".to_owned())],
        plain_headers: ["x-key".to_owned()].into(),
        delivering: Delivering {
            timeout: Some(Duration::from_millis(1500)),
            retry_delays: Some(vec![Duration::ZERO, Duration::from_secs(86_400)]),
            max_in_flight: Some(1),
            rate_limit: Some(0.1),
            wait: Some(Wait { parts: vec![Part::Recording, Part::Analysis], up_to: Duration::from_secs(90) }),
        },
        credential: Credential::of_bearer(Secret::new("0123456789abcdef")),
        ..endpoint(scene.account)
    };
    let plain = scene.endpoint(|_| {}).await;
    let made = scene.store.put_endpoint(wanted.clone(), None).await.unwrap().unwrap();
    (wanted.number, wanted.id, wanted.revision) = (made.number, made.id.clone(), made.revision);
    assert!(made.number != plain && made.id.starts_with("ep_"));
    for change in 0..3 {
        if change == 1 {
            wanted.events = None;
            wanted.delivering = Delivering { retry_delays: Some(Vec::new()), ..Delivering::default() };
            wanted.headers = Vec::new();
            wanted.scope = Scope::default();
            scene.store.put_endpoint(wanted.clone(), None).await.unwrap().unwrap();
        }
        if change == 2 {
            scene.crash().await;
        }
        assert_eq!(*scene.configured(wanted.number), wanted);
    }
    let unknown = Endpoint { number: 99, ..wanted.clone() };
    assert_eq!(scene.store.put_endpoint(unknown, None).await.unwrap(), None);
    assert_eq!(scene.store.put_endpoint(endpoint(AccountKey(77)), None).await.unwrap(), None);
    assert_eq!(scene.store.delete_endpoint(scene.account, 99, scene.now).await, Ok(false));
    assert_eq!(scene.store.delete_endpoint(scene.account, wanted.number, scene.now).await, Ok(true));
    assert_eq!(scene.store.delete_endpoint(scene.account, wanted.number, scene.now).await, Ok(false));
    assert_eq!(scene.store.put_endpoint(wanted.clone(), None).await.unwrap(), None, "gone is gone");
    let next = scene.endpoint(|_| {}).await;
    assert_eq!(next, wanted.number + 1);
    scene.crash().await;
    let config = scene.store.config(scene.account).unwrap();
    assert_eq!(config.endpoints.iter().map(|endpoint| endpoint.number).collect::<Vec<_>>(), [plain, next]);
    let sums = scene.store.sums(scene.account, false).await.unwrap();
    assert_eq!(sums.iter().map(|sum| sum.endpoint).collect::<Vec<_>>(), [plain, wanted.number, next]);
    scene.finish().await;
}

pub async fn a_disabled_endpoint_is_owed_and_waits<F: Fixture>(mut scene: Scene<F>) {
    let off = scene.endpoint(|_| {}).await;
    let witness = scene.endpoint(|endpoint| endpoint.events = Some(vec![EventType::EndpointDisabled])).await;
    let disable = async |scene: &Scene<F>, number, reason: &str| {
        scene.store.disable_endpoint(scene.target(number), reason.to_owned(), scene.now).await.unwrap()
    };
    let woken = disable(&scene, off, "by hand").await.unwrap();
    assert!(woken.contains(&scene.target(witness)), "{woken:?}");
    assert_eq!(disable(&scene, off, "another reason").await, Some(Vec::new()), "it is disabled already");
    assert_eq!(disable(&scene, 99, "nobody").await, None);
    scene.crash().await;
    let is_off = |reason: &str| EndpointState::Disabled { reason: reason.to_owned() };
    assert_eq!(scene.configured(off).state, is_off("by hand"));
    let kinds: Vec<EventType> = scene.feed().await.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventType::EndpointDisabled], "told once");
    assert_eq!(numbers(&scene.claim(witness, 9).await), [2]);

    scene
        .change(off, |endpoint| {
            endpoint.url = "https://elsewhere.example".to_owned();
            endpoint.state = EndpointState::Active;
        })
        .await;
    assert_eq!(scene.configured(off).state, is_off("by hand"), "a change of settings enables nothing");
    scene.room.set(0);
    scene.hear([says("c-1", ENDED)]).await;
    assert_eq!(scene.sum(off).await.pending, 2);
    assert_eq!(scene.store.enable_endpoint(scene.target(off)).await, Ok(true));
    assert_eq!(scene.store.enable_endpoint(scene.target(99)).await, Ok(false));
    assert_eq!(scene.configured(off).state, EndpointState::Active);
    let claimed = scene.claim(off, 9).await;
    assert_eq!(claimed.len(), 2);
    for owned in &claimed {
        scene.settle(owned, Next::Delivered).await;
    }
    let nobody = EndpointRef { account: AccountKey(77), number: off };
    assert_eq!(scene.store.enable_endpoint(nobody).await, Ok(false));
    scene.finish().await;
}

/// What one transaction changed is what the next one goes by.
pub async fn changes_count_from_the_next_event_on<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    assert_eq!(scene.step("a", ENDED).await.len(), 1);
    scene.change(endpoint, |endpoint| endpoint.events = Some(vec![EventType::CallFailed])).await;
    assert_eq!(scene.step("b", ENDED).await.len(), 0);
    let second = scene.endpoint(|_| {}).await;
    assert_eq!(scene.step("c", ENDED).await[0].endpoint.number, second);
    scene.store.delete_endpoint(scene.account, second, scene.now).await.unwrap();
    assert_eq!(scene.step("d", ENDED).await.len(), 0);
    scene.tidy_up().await;
    scene.finish().await;
}
