//! Accounts as lines: a round trip into a new store changes nothing, repeats change nothing, and every wrong line has its
//! answer.

use std::sync::Arc;

use postcall::delivery::guard::parse_url;
use postcall::delivery::wire::check_header;
use postcall::ledger::Next;
use postcall::model::endpoint::EndpointState;
use postcall::model::{AccountKey, DeliveryState, Outcome, Step};
use postcall::store::export::{Import, Imported, Secrets, WireRules};
use postcall::store::{DeliveryFilter, Parsed, Store};

use super::erasing::{PHONE, SECRET, finish, person, with};
use super::scene::{Fixture, Scene, attempted, says, source};

const ENDED: Step = Step::Ended(Outcome::Completed);

pub async fn export(store: &Arc<dyn Store>, account: AccountKey, secrets: Secrets) -> Vec<String> {
    let (mut lines, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.export(account, secrets, cursor).await.unwrap();
        assert!(page.lines.len() <= 201, "a page is a page");
        lines.extend(page.lines);
        cursor = page.next;
        if cursor.is_none() {
            return lines;
        }
    }
}

/// What sending asks of URLs and headers whatever the network is.
pub struct ByForm;

impl WireRules for ByForm {
    fn check_url(&self, url: &str) -> Result<(), String> {
        parse_url(url).map(drop)
    }

    fn check_header(&self, name: &str, value: &str) -> Result<(), String> {
        check_header(name, value).map(drop)
    }
}

/// Brings lines, so many at a time.
pub async fn import<F: Fixture>(scene: &Scene<F>, lines: &[String], step: usize, deliver: bool) -> Imported {
    let mut sum = Imported::default();
    let numbered: Vec<(u64, String)> = (1..).zip(lines.iter().cloned()).collect();
    for lines in numbered.chunks(step) {
        let may_end = sum.wrong.is_empty();
        let rules = Arc::new(ByForm);
        let lines =
            Import { lines: lines.to_vec(), deliver, may_end, keeps_ids: true, rules, now: scene.now };
        let done = scene.store.import(scene.account, lines).await.unwrap();
        done.added.into_iter().for_each(|(kind, count)| *sum.added.entry(kind).or_default() += count);
        sum.unchanged += done.unchanged;
        sum.wrong.extend(done.wrong);
        sum.ended |= done.ended;
        sum.stopped |= done.stopped;
    }
    sum
}

/// Calls that ended, that are under way, that wait; deliveries in every state; one erased person; a deleted endpoint.
async fn furnish<F: Fixture>(scene: &mut Scene<F>) {
    let first = scene.endpoint(|_| {}).await;
    let gone = scene.endpoint(|endpoint| endpoint.headers = vec![("X-Key".to_owned(), "k".to_owned())]).await;
    scene.change(first, |endpoint| endpoint.shape.include_recording = false).await;
    scene.keep(1_000_000).await;
    let calls =
        (0..300).map(|call| with(&format!("c-{call}"), Step::Answered, "+15550001111", "hello \u{1f600}"));
    let owned = scene.hear(calls).await.owned;
    let ends = [Next::Delivered, Next::Dead, Next::RetryAt(scene.later(60))];
    let settled = owned.iter().zip(0..).filter(|(_, at)| at % 4 != 3);
    let settled = settled.map(|(owned, at)| attempted(owned, scene.now, ends[at % 4])).collect();
    scene.commit(Vec::new(), settled).await;
    scene.hear((0..50).map(|call| says(&format!("c-{call}"), ENDED))).await;
    scene.hear([with("e", ENDED, PHONE, SECRET)]).await;
    scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap();
    finish(scene).await;
    scene.hear([Parsed::Test(Box::new(super::scene::heard("t", ENDED)))]).await;
    scene.store.delete_endpoint(scene.account, gone, scene.now).await.unwrap();
    finish(scene).await;
}

pub async fn a_round_trip_changes_nothing<F: Fixture>(mut scene: Scene<F>) {
    furnish(&mut scene).await;
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    assert!(lines.len() > 900, "{}", lines.len());
    assert!(
        lines[0].starts_with("{\"kind\":\"account\",\"version\":1,")
            && lines[lines.len() - 1] == "{\"kind\":\"end\"}"
    );
    assert!(!lines.concat().contains(SECRET));

    let other = Scene::<F>::new().await;
    let done = import(&other, &lines, 97, true).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    // The source that both have from the start is there already, and the end is no record.
    assert_eq!(done.added.values().sum::<u64>() + done.unchanged + 1, lines.len() as u64);
    assert_eq!(export(&other.store, other.account, Secrets::Clear).await, lines);
    assert_eq!(other.store.sums(other.account, false).await, scene.store.sums(scene.account, false).await);
    assert_eq!(other.store.sums(other.account, true).await, scene.store.sums(scene.account, true).await);
    let numbers = async |scene: &Scene<F>| scene.store.rows(scene.account, false).await.unwrap();
    assert!(!numbers(&other).await.is_empty());
    assert_eq!(numbers(&other).await, numbers(&scene).await, "imported calls count as heard ones");
    let tag = |store: &Arc<dyn Store>| store.config(AccountKey::DEFAULT).unwrap().account.tag;
    assert_eq!(tag(&other.store), tag(&scene.store), "ids are what they were");
    let config = other.store.config_by_tag(tag(&scene.store)).unwrap();
    assert_eq!(config.endpoints, scene.store.config(scene.account).unwrap().endpoints);
    assert_eq!(config.sources, scene.store.config(scene.account).unwrap().sources);

    // Once more, in parts of another size: nothing changes.
    let again = import(&other, &lines, 31, true).await;
    assert_eq!((again.unchanged + 1, again.added.len(), again.wrong.len()), (lines.len() as u64, 0, 0));
    assert_eq!(export(&other.store, other.account, Secrets::Clear).await, lines);

    // The account goes on where it was: repeats are known, what is pending is sent, numbers go on.
    let repeat = other.hear([says("c-1", ENDED)]).await;
    assert_eq!(repeat.recorded, [super::scene::done(postcall::dialect::ReceiptKind::Duplicate, 0)]);
    other.hear([says("new", ENDED)]).await;
    let feed = other.feed().await;
    assert_eq!(feed.last().unwrap().position, scene.feed().await.last().unwrap().position + 1);
    assert!(!other.claim(1, 9).await.is_empty());
    other.finish().await;
    scene.finish().await;
}

pub async fn without_secrets_nothing_is_open_and_nothing_is_sent<F: Fixture>(mut scene: Scene<F>) {
    furnish(&mut scene).await;
    let mut cllr = source(scene.account);
    cllr.dialect = postcall::model::DialectName::Cllr;
    cllr.credential = <_>::default();
    cllr.url_token = Some(postcall::model::Secret::new("opensesame"));
    scene.store.put_source(cllr, None).await.unwrap();
    for secrets in [Secrets::Without, Secrets::Sealed] {
        let lines = export(&scene.store, scene.account, secrets).await;
        let all = lines.concat();
        for secret in ["shared", "whsec", "opensesame", "X-Key"] {
            let encoded = data_encoding::BASE64.encode(secret.as_bytes());
            assert!(!all.contains(secret) && !all.contains(encoded.trim_end_matches('=')), "{secret}");
        }
        let other = Scene::<F>::new().await;
        let done = import(&other, &lines, 200, true).await;
        if secrets == Secrets::Sealed {
            let codes: Vec<&str> = done.wrong.iter().map(|wrong| wrong.code).take(2).collect();
            assert_eq!(codes, ["sealed_elsewhere"; 2], "the other store has another key");
            assert!(!done.ended);
            continue;
        }
        assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
        let config = other.store.config(other.account).unwrap();
        assert!(config.endpoints.iter().all(|it| matches!(it.state, EndpointState::Disabled { .. })));
        assert!(config.endpoints.iter().all(|it| it.credential.signing(other.now).is_some()));
        for source in &config.sources {
            let is_guarded = source.url_token.is_some() || source.credential.signing(other.now).is_some();
            assert!(is_guarded, "{source:?}");
        }
        other.finish().await;
    }
    scene.finish().await;
}

pub async fn an_account_beside_the_first_keeps_its_numbers<F: Fixture>(mut scene: Scene<F>) {
    furnish(&mut scene).await;
    let (first, lines) = (scene.account, export(&scene.store, scene.account, Secrets::Clear).await);
    let before = scene.feed().await;
    scene.account = scene.other_account("other").await;
    let done = import(&scene, &lines, 200, false).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    let after = scene.feed().await;
    assert_eq!(after.len(), before.len());
    assert!(
        after
            .iter()
            .zip(&before)
            .all(|(after, before)| after.position == before.position && after.id != before.id)
    );
    assert_eq!(export(&scene.store, first, Secrets::Clear).await, lines, "the first is as it was");
    let pending = DeliveryFilter { state: Some(DeliveryState::Pending), ..DeliveryFilter::default() };
    assert!(!scene.deliveries(pending).await.is_empty());
    let config = scene.store.config(scene.account).unwrap();
    assert!(
        config.endpoints.iter().all(|it| it.state != EndpointState::Active),
        "two must not tell the same"
    );
    scene.finish().await;
}

pub async fn wrong_lines_are_named_and_left_out<F: Fixture>(mut scene: Scene<F>) {
    furnish(&mut scene).await;
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    let at = |kind: &str| {
        lines.iter().position(|line| line.starts_with(&format!("{{\"kind\":\"{kind}\""))).unwrap()
    };
    let (event, delivery) = (at("event"), at("delivery"));
    let mut broken = lines.clone();
    broken[event] = lines[event][..40].to_owned();
    broken[event + 1] = "{\"kind\":\"surprise\"}".to_owned();
    broken[event + 2] = lines[event + 2].replace("call.answered", "call.sung");
    broken[event + 3] = lines[event + 3].replace("\"timestamp\"", "\"time\"");
    broken[event + 4] = lines[event + 4].replace("evt_", "dlv_");
    broken[delivery + 9] = lines[delivery + 9].replace("\"state\":\"", "\"state\":\"un");
    let other = Scene::<F>::new().await;
    let done = import(&other, &broken, 50, true).await;
    let wrong: Vec<(u64, &str)> = done.wrong.iter().map(|wrong| (wrong.line, wrong.code)).collect();
    let line = |at: usize| at as u64 + 1;
    let expected = [
        (line(event), "malformed_line"),
        (line(event + 1), "unknown_kind"),
        (line(event + 2), "unknown_event_type"),
        (line(event + 3), "malformed_line"),
        (line(event + 4), "bad_id"),
    ];
    assert_eq!(wrong[..5], expected);
    assert!(wrong.contains(&(line(delivery + 9), "unknown_state")), "{wrong:?}");
    assert!(
        wrong
            .iter()
            .skip(5)
            .all(|(_, code)| ["no_such_event", "no_such_delivery", "unknown_state"].contains(code)),
        "{wrong:?}"
    );
    assert!(done.wrong.iter().all(|wrong| wrong.detail.ends_with(['.', '?'])), "{:?}", done.wrong);

    // Corrected, the whole file again brings what was left out.
    let done = import(&other, &lines, 200, true).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    assert_eq!(export(&other.store, other.account, Secrets::Clear).await, lines);

    // What cannot begin, or cannot go on, stops at once.
    let fresh = Scene::<F>::new().await;
    let code = async |scene: &Scene<F>, lines: &[String]| {
        let done = import(scene, lines, 200, true).await;
        assert!(done.stopped && done.added.is_empty());
        done.wrong[0].code
    };
    assert_eq!(code(&fresh, &lines[event..=event]).await, "no_account_line");
    let newer = lines[0].replace("\"version\":1", "\"version\":99");
    assert_eq!(code(&fresh, &[newer]).await, "newer_version");
    fresh.hear([says("own", ENDED)]).await;
    assert_eq!(code(&fresh, &lines[..1]).await, "account_not_empty");
    let later = lines[event].replace(&format!("{:0>9}", "1"), &format!("{:0>9}", "zzz"));
    assert_eq!(code(&other, &[later]).await, "import_ended");
    for scene in [scene, other, fresh] {
        scene.finish().await;
    }
}
