//! The settings of an endpoint, from a request to the model: every rule of what may be set, each with its remedy.
//! Refuses to know the store; the rules of the wire are the courier's.

use std::collections::BTreeSet;
use std::time::Duration;

use utoipa::ToSchema;

use super::courier::Courier;
use super::credential::{self, Made, Side};
use super::form::{Form, Given, duration, shorten};
use super::problem::{Problem, sentence};
use super::redact;
use super::sources::read_dialect;
use crate::dialect;
use crate::model::bounds::{
    IN_FLIGHT, LONGEST_DELAY, LONGEST_WAIT, MOST_DELAYS, MOST_HEADERS, TIMEOUTS, is_rate, is_span,
};
use crate::model::endpoint::{Delivering, Endpoint, EndpointState, Part, Scope, Shape, Wait};
use crate::model::text::Text;
use crate::model::{AccountKey, DialectName, EventType, Time, Token, time};

/// The most names in a list of them, repeated ones counted.
pub const MOST_NAMES: usize = 50;
/// The wait unless said otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(600);

/// What a new endpoint may say; a change takes the same fields, and `null` sets one back to its default.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read` is what reads it")]
pub struct EndpointForm {
    /// Where to: https, or http.
    url: String,
    /// In which dialect: `voicegenie`, `cllr`, `dialgen`, `aloro`, `air` or `standard`.
    dialect: String,
    /// Which event types; left out, all that the dialect says.
    events: Option<Vec<String>>,
    /// Only calls of this agent.
    agent_id: Option<String>,
    /// Only calls of this campaign.
    campaign_id: Option<String>,
    /// Only calls of this batch, and the batch itself.
    batch_id: Option<String>,
    /// Only calls with outcome completed. Default false.
    completed_only: Option<bool>,
    /// Whether the recording goes along. Default true.
    include_recording: Option<bool>,
    /// Whether one call's events arrive in their order. Default true.
    ordered: Option<bool>,
    /// The signing secret. Left out, one is made and shown once; `null`, nothing is signed.
    secret: Option<String>,
    /// The token of `Authorization: Bearer`, for `air`; at least 16 characters. Left out, one is made.
    bearer_token: Option<String>,
    /// Headers to add to every request, at most 32. Their values are write-only: they are shown as `***`, and stay as they
    /// are when they come back so. One that is given as `{"value": "sales", "plain": true}` is shown.
    #[schema(value_type = Option<std::collections::BTreeMap<String, HeaderForm>>)]
    headers: Option<()>,
    /// For the whole exchange; 1 to 300. Default by dialect.
    timeout_seconds: Option<f64>,
    /// Waits after each failed attempt, at most 50 of at most seven days; `[]` means once. One below 0.1 counts as 0.1.
    /// Default by dialect.
    retry_delays_seconds: Option<Vec<f64>>,
    /// Attempts at the same time, 1 to 1000, from each node. Default 32.
    max_in_flight: Option<u32>,
    /// Attempts started per second, by each node. Default unlimited.
    rate_limit_per_second: Option<f64>,
    /// What the end of a call is held for where somebody was reached: `recording`, `transcript`, `analysis`. One delivery
    /// then, when all of it has come or after `up_to_minutes` with what there is. Default nothing.
    wait_for: Option<Vec<String>>,
    /// For how long, from when the end was heard; above 0, at most 1440. Default 10.
    up_to_minutes: Option<f64>,
}

/// The value of a header.
#[derive(serde::Serialize, ToSchema)]
#[serde(untagged)]
pub enum HeaderForm {
    /// The value. It is write-only, unless the header is plain already.
    Value(String),
    /// The value, and whether it is shown.
    Marked {
        /// The value.
        value: String,
        /// Whether it is shown. Left out, it stays as it is; a new header's is not.
        plain: Option<bool>,
    },
}

/// What a new endpoint starts from.
pub fn blank(account: AccountKey, now: Time) -> Endpoint {
    Endpoint {
        account,
        number: 0,
        id: String::new(),
        revision: 0,
        url: String::new(),
        dialect: DialectName::Standard,
        shape: Shape::default(),
        events: None,
        scope: Scope::default(),
        completed_only: false,
        ordered: true,
        headers: Vec::new(),
        plain_headers: <_>::default(),
        delivering: Delivering::default(),
        credential: <_>::default(),
        state: EndpointState::Active,
        of_batch: false,
        created_at: now,
    }
}

/// Reads a body into a new endpoint.
///
/// # Errors
/// 422 with everything that is wrong.
pub fn create(
    body: &[u8],
    account: AccountKey,
    now: Time,
    courier: &dyn Courier,
) -> Result<(Endpoint, Made), Problem> {
    read(Form::read(body)?, blank(account, now), courier)
}

/// Reads a body over an endpoint.
///
/// # Errors
/// 422 with everything that is wrong.
pub fn change(body: &[u8], current: &Endpoint, courier: &dyn Courier) -> Result<(Endpoint, Made), Problem> {
    read(Form::read(body)?, current.clone(), courier)
}

fn read(
    mut form: Form<'_>,
    mut endpoint: Endpoint,
    courier: &dyn Courier,
) -> Result<(Endpoint, Made), Problem> {
    let is_new = endpoint.number == 0;
    let known = (!is_new).then_some(endpoint.dialect);
    let dialect = match read_dialect(&mut form) {
        Given::Absent if !is_new => known,
        given => form.required("dialect", given),
    };
    match form.string("url") {
        Given::Absent if !is_new => {}
        given => {
            // What was shown with its values hidden comes back so when somebody changes something else.
            let given = form.required("url", given).filter(|url| *url != redact::url(&endpoint.url));
            if let Some(url) = given {
                if let Err(why) = check_url(&url, courier) {
                    form.wrong("url", "url_refused", why);
                }
                endpoint.url = url;
            }
        }
    }
    read_events(&mut form, &mut endpoint.events, dialect);
    let scope = &mut endpoint.scope;
    for (name, field) in [
        ("agent_id", &mut scope.agent_id),
        ("campaign_id", &mut scope.campaign_id),
        ("batch_id", &mut scope.batch_id),
    ] {
        *field = form.text(name).over(field.take());
    }
    for (name, field, default) in [
        ("completed_only", &mut endpoint.completed_only, false),
        ("include_recording", &mut endpoint.shape.include_recording, true),
        ("ordered", &mut endpoint.ordered, true),
    ] {
        *field = form.boolean(name).over_default(*field, default);
    }
    read_headers(&mut form, &mut endpoint, courier);
    read_delivering(&mut form, &mut endpoint.delivering);
    read_wait(&mut form, &mut endpoint.delivering.wait);
    let wanted = credential::read(&mut form, dialect, Side::Endpoint);
    form.finish()?;

    let Some(dialect) = dialect else { return Err(Problem::internal()) };
    let proof = |name| dialect::get(name).proof();
    let fits = known.is_some_and(|known| proof(known) == proof(dialect));
    let (credential, made) = wanted.make(dialect, fits.then(|| endpoint.credential.clone()));
    Ok((Endpoint { dialect, credential, ..endpoint }, made))
}

/// Also when only the dialect changes, what was chosen before has to be what the dialect says.
fn read_events(form: &mut Form<'_>, events: &mut Option<Vec<EventType>>, dialect: Option<DialectName>) {
    let given = form.list("events", MOST_NAMES);
    if let Given::Value(list) = &given {
        let mut chosen = Vec::new();
        if list.is_empty() {
            form.wrong("events", "empty", "Name at least one event type, or leave it out for all.");
        }
        for (at, element) in list.iter().enumerate() {
            let name: Option<Text> = serde_json::from_str(element.get()).ok();
            match name.and_then(|name| EventType::parse(&name.to_str())) {
                Some(kind) if !chosen.contains(&kind) => chosen.push(kind),
                Some(_) => {}
                None => {
                    let names = EventType::ALL.map(EventType::as_str).join(", ");
                    form.wrong(
                        format!("events[{at}]"),
                        "unknown_event_type",
                        format!("Give one of: {names}."),
                    );
                }
            }
        }
        *events = Some(chosen);
    } else if matches!(given, Given::Null) {
        *events = None;
    }
    let Some(dialect) = dialect else { return };
    let triggers = dialect::get(dialect).triggers();
    for kind in events.iter().flatten().filter(|kind| !triggers.contains(kind)) {
        let said: Vec<&str> = triggers.iter().map(|kind| kind.as_str()).collect();
        let detail =
            format!("The dialect {dialect} never says {}; it says {}.", kind.as_str(), said.join(", "));
        form.wrong("events", "event_not_said", detail);
    }
}

/// Whether this URL may be sent to.
///
/// # Errors
/// Why not, in a sentence for the caller.
pub fn check_url(url: &str, courier: &dyn Courier) -> Result<(), String> {
    if redact::hides_a_value(url) {
        let why = format!(
            "Write the value itself in place of {}: this is another URL than before.",
            redact::HIDDEN
        );
        return Err(why);
    }
    courier.check_url(url).map_err(|why| sentence(&why))
}

fn read_headers(form: &mut Form<'_>, endpoint: &mut Endpoint, courier: &dyn Courier) {
    let object = match form.object("headers") {
        Given::Value(object) => object,
        Given::Null => {
            endpoint.headers.clear();
            return endpoint.plain_headers.clear();
        }
        Given::Absent => return,
    };
    if object.len() > MOST_HEADERS {
        return form.wrong("headers", "too_many", format!("Give at most {MOST_HEADERS}."));
    }
    let (mut read, mut plain): (Vec<(String, String)>, BTreeSet<String>) = <_>::default();
    for (name, value) in object.rest() {
        let (name, field) = (name.to_str(), format!("headers.{}", shorten(&name.to_str())));
        let Some((value, is_plain)) = read_header(value) else {
            form.wrong(field, "wrong_type", "Give a text, or {\"value\": \"a text\", \"plain\": true}.");
            continue;
        };
        let known = endpoint.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        let was_plain = known.is_some() && endpoint.shows_header(&name);
        let is_plain = is_plain.unwrap_or(was_plain);
        let value = match known {
            Some((_, secret)) if !is_plain && redact::is_hidden(&value, secret) => secret.clone(),
            _ if value == redact::HIDDEN => {
                form.wrong(field, "hidden_value", "Write the value itself: nothing here stands for it.");
                continue;
            }
            _ => value,
        };
        if let Err(why) = courier.check_header(&name, &value) {
            form.wrong(field, "header_refused", sentence(&why));
        } else if read.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            form.wrong(field, "repeated", "Give each header once; case does not tell two apart.");
        } else {
            if is_plain {
                plain.insert(name.to_ascii_lowercase());
            }
            read.push((name.into_owned(), value));
        }
    }
    (endpoint.headers, endpoint.plain_headers) = (read, plain);
}

/// A header's value, and whether it is to be shown, where that is said.
fn read_header(given: &Token<'_>) -> Option<(String, Option<bool>)> {
    let Some(mut object) = given.clone().object() else {
        return serde_json::from_str(given.get()).ok().map(|value| (value, None));
    };
    let value = serde_json::from_str(object.take("value")?.get()).ok()?;
    let plain = object.take("plain").map(|plain| serde_json::from_str(plain.get())).transpose().ok()?;
    object.is_empty().then_some((value, plain))
}

fn read_wait(form: &mut Form<'_>, wait: &mut Option<Wait>) {
    let up_to = match form.number("up_to_minutes") {
        Given::Value(minutes) => {
            let span = time::duration(minutes * 60.0);
            if is_span(span, LONGEST_WAIT) {
                Given::Value(span)
            } else {
                let most = LONGEST_WAIT.as_secs() / 60;
                form.wrong(
                    "up_to_minutes",
                    "out_of_range",
                    format!("Give a number above 0, at most {most}."),
                );
                Given::Absent
            }
        }
        Given::Null => Given::Null,
        Given::Absent => Given::Absent,
    };
    let current = wait.take();
    let mut parts = current.as_ref().map(|wait| wait.parts.clone()).unwrap_or_default();
    match form.list("wait_for", MOST_NAMES) {
        Given::Absent => {}
        Given::Null => parts.clear(),
        Given::Value(list) => {
            parts.clear();
            for (at, element) in list.iter().enumerate() {
                let name: Option<Text> = serde_json::from_str(element.get()).ok();
                match name.and_then(|name| Part::parse(&name.to_str())) {
                    Some(part) if parts.contains(&part) => {}
                    Some(part) => parts.push(part),
                    None => {
                        let names = Part::ALL.map(Part::as_str).join(", ");
                        form.wrong(
                            format!("wait_for[{at}]"),
                            "unknown_value",
                            format!("Give one of: {names}."),
                        );
                    }
                }
            }
        }
    }
    if parts.is_empty() && matches!(up_to, Given::Value(_)) {
        form.wrong(
            "up_to_minutes",
            "nothing_to_wait_for",
            "Name in wait_for what to wait for, or leave this out.",
        );
    }
    let up_to = up_to.over_default(current.map_or(DEFAULT_WAIT, |wait| wait.up_to), DEFAULT_WAIT);
    *wait = (!parts.is_empty()).then_some(Wait { parts, up_to });
}

fn read_delivering(form: &mut Form<'_>, delivering: &mut Delivering) {
    delivering.timeout = form.seconds("timeout_seconds", &TIMEOUTS).over(delivering.timeout);
    delivering.max_in_flight = form.whole("max_in_flight", IN_FLIGHT).over(delivering.max_in_flight);
    delivering.rate_limit = match form.number("rate_limit_per_second") {
        Given::Value(rate) if is_rate(rate) => Some(rate),
        Given::Value(_) => {
            form.wrong("rate_limit_per_second", "out_of_range", "Give a number above 0, or leave it out.");
            None
        }
        given => given.over(delivering.rate_limit),
    };
    match form.list("retry_delays_seconds", MOST_DELAYS) {
        Given::Absent => {}
        Given::Null => delivering.retry_delays = None,
        Given::Value(list) => {
            let mut delays: Vec<Duration> = Vec::new();
            for (at, element) in list.iter().enumerate() {
                let seconds = serde_json::from_str(element.get()).ok();
                match seconds.and_then(|seconds| duration(seconds, LONGEST_DELAY)) {
                    Some(delay) => delays.push(delay),
                    None => {
                        let most = LONGEST_DELAY.as_secs();
                        let detail = format!("Give a number of seconds from 0 to {most} (seven days).");
                        form.wrong(format!("retry_delays_seconds[{at}]"), "out_of_range", detail);
                    }
                }
            }
            delivering.retry_delays = Some(delays);
        }
    }
}
