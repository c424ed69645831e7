//! What a request says of a new batch, in both shapes: ours and that of seed 002. Everything that is wrong is named
//! before anything is made: a batch is taken whole or not at all. Refuses to know the store.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use utoipa::ToSchema;

use super::courier::Courier;
use super::endpoint_form::check_url;
use super::form::{Form, Given};
use super::minutes;
use super::problem::Problem;
use crate::model::bounds::{ATTEMPTS, LONGEST_DEADLINE, LONGEST_OBJECT, LONGEST_TEXT, is_number, is_object};
use crate::model::{DialectName, Object, Raw, Text, Token};
use crate::model::{Time, phone};
use crate::store::batches::{Contact, Given as Said, MOST_CONTACTS, MOST_SOURCES, Reporters};

/// What a contact gets unless said: one call in our shape, seed 002's default in its own.
const OUR_ATTEMPTS: u32 = 1;
const SEED_ATTEMPTS: u32 = 3;
/// Wrong contacts that are named; the rest is only counted.
const MOST_NAMED: usize = 20;

/// Which system's names a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Ours.
    Ours,
    /// Seed 002's. What it does not know it passes over, as clients of that system may say more.
    Seed,
}

/// What was asked for.
#[derive(Debug)]
pub struct Asked {
    /// What is said of the batch.
    pub said: Said,
    /// Whom to call.
    pub contacts: Vec<Contact>,
    /// Calls that a contact gets.
    pub max_attempts: i64,
    /// The deadline of each call.
    pub lost_after: Option<Duration>,
    /// Where to tell of the batch's completion, of each call, of the batch's failure.
    pub webhooks: [Option<String>; 3],
}

/// What a new batch says.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read` is what reads it")]
pub struct BatchForm {
    /// Whom to call, 1 to 100,000; each number once.
    contacts: Vec<ContactForm>,
    /// The agent that shall call.
    agent_id: Option<String>,
    /// Your user.
    user_id: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// Calls that a contact gets before it counts as failed, 1 to 5. Default 1.
    max_attempts: Option<u32>,
    /// After how many minutes without its end a call is given up as lost, and so is a contact that nobody called.
    lost_after_minutes: Option<f64>,
    /// Carried to what is said of each call.
    #[schema(value_type = Option<Object>)]
    metric_schema: Option<()>,
    /// For the dialer, kept as given.
    #[schema(value_type = Option<Object>)]
    options: Option<()>,
    /// When the dialer shall begin.
    #[schema(format = DateTime)]
    scheduled_at: Option<String>,
    /// The sources that may report on it, 1 to 100 of this account's: `src_..`. What others say of its calls counts for
    /// nothing. Left out, every source may.
    source_ids: Option<Vec<String>>,
    /// Become endpoints in the dialect `dialgen` that hear of this batch alone.
    webhooks: Option<WebhooksForm>,
}

/// Somebody to be called.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read` is what reads it")]
pub struct ContactForm {
    /// The phone number.
    phone: String,
    /// Your id of the contact, unique in the batch.
    id: Option<String>,
    /// Name.
    name: Option<String>,
    /// E-mail address.
    email: Option<String>,
    /// Where they work.
    company: Option<String>,
    /// Whatever the dialer should know.
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

/// Where to tell of a batch.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read` is what reads it")]
pub struct WebhooksForm {
    /// Told once, when every contact has closed.
    on_batch_complete: Option<String>,
    /// Told of each call that ends.
    on_call_complete: Option<String>,
    /// Told if the batch stops.
    on_batch_failed: Option<String>,
}

/// The names of what both shapes have.
struct Names {
    sources: &'static str,
    agent: &'static str,
    user: &'static str,
    schema: &'static str,
    phone: &'static str,
    webhooks: [&'static str; 3],
}

const OURS: Names = Names {
    sources: "source_ids",
    agent: "agent_id",
    user: "user_id",
    schema: "metric_schema",
    phone: "phone",
    webhooks: ["on_batch_complete", "on_call_complete", "on_batch_failed"],
};
const SEEDS: Names = Names {
    sources: "sourceIds",
    agent: "agentId",
    user: "userId",
    schema: "metricSchema",
    phone: "phoneNumber",
    webhooks: ["onBatchComplete", "onCallComplete", "onBatchFailed"],
};

/// Reads a body. `source` gives the number of a source of the account by its id.
///
/// # Errors
/// 400 when it is no JSON object, 422 with everything that is wrong.
pub fn read(
    body: &[u8],
    style: Style,
    courier: &dyn Courier,
    source: impl Fn(&str) -> Option<i64>,
) -> Result<Asked, Problem> {
    let mut form = Form::read(body)?;
    let names = if style == Style::Ours { OURS } else { SEEDS };
    let mut said = Said {
        agent_id: form.text(names.agent).value(),
        user_id: form.text(names.user).value(),
        name: form.text("name").value(),
        metric_schema: read_object(&mut form, names.schema),
        ..Said::default()
    };
    let given = form.list("contacts", MOST_CONTACTS);
    let contacts = match form.required("contacts", given) {
        Some(list) => read_contacts(&mut form, list, &names, style),
        None => Vec::new(),
    };
    said.options = read_object(&mut form, "options");
    said.reporters = read_reporters(&mut form, names.sources, style, source);
    let mut asked = Asked { said, contacts, max_attempts: 0, lost_after: None, webhooks: [None, None, None] };
    match style {
        Style::Ours => {
            asked.max_attempts = form.whole("max_attempts", ATTEMPTS).value().unwrap_or(OUR_ATTEMPTS).into();
            asked.lost_after = minutes::read(&mut form, "lost_after_minutes", LONGEST_DEADLINE).value();
            asked.said.scheduled_at = form.time("scheduled_at").value();
            if let Given::Value(hooks) = form.object("webhooks") {
                asked.webhooks = read_webhooks(&mut form, "webhooks", hooks, &names, style, courier);
            }
            form.finish()?;
        }
        Style::Seed => {
            let options = asked.said.options.take();
            read_options(&mut form, options.as_ref(), &mut asked, courier);
            asked.said.options = options.and_then(|options| without_webhooks(&options));
            form.finish_leniently()?;
        }
    }
    Ok(asked)
}

/// The sources that may report on the batch. Left out, those that Dialgen's clients expect in its shape, and every one in
/// ours.
fn read_reporters(
    form: &mut Form<'_>,
    name: &'static str,
    style: Style,
    source: impl Fn(&str) -> Option<i64>,
) -> Reporters {
    let mut name = name;
    let mut given = form.list(name, MOST_SOURCES);
    // In Dialgen's shape unknown names are passed over, and a batch must not be open to all by the other spelling.
    if style == Style::Seed && matches!(given, Given::Absent) {
        name = OURS.sources;
        given = form.list(name, MOST_SOURCES);
    }
    let Some(list) = given.value() else {
        return if style == Style::Seed {
            Reporters::of_dialect(DialectName::Dialgen)
        } else {
            Reporters::All
        };
    };
    if list.is_empty() {
        form.wrong(name, "out_of_range", format!("Name 1 to {MOST_SOURCES} sources, or leave it out."));
        return Reporters::All;
    }
    let mut sources = Vec::new();
    for (at, element) in list.iter().enumerate() {
        let id = element.text();
        match id.as_ref().and_then(|id| source(&id.to_str())) {
            Some(number) if sources.contains(&number) => {}
            Some(number) => sources.push(number),
            None => {
                let detail =
                    "This account has no such source. Give ids as GET /v1/sources shows them: src_....";
                form.wrong(format!("{name}[{at}]"), "no_such_source", detail);
            }
        }
    }
    Reporters::Listed(sources)
}

/// Seed 002 `options`: checked against the ranges of that system's API, kept for the dialer.
fn read_options(form: &mut Form<'_>, options: Option<&Raw>, asked: &mut Asked, courier: &dyn Courier) {
    asked.max_attempts = SEED_ATTEMPTS.into();
    let Some(mut options) = options.and_then(Raw::as_object) else { return };
    whole(form, &mut options, "options.priority", "priority", 1..=10);
    whole(form, &mut options, "options.maxCallsPerSecond", "maxCallsPerSecond", 1..=30);
    let longest = u32::try_from(LONGEST_DEADLINE.as_secs() / 60).unwrap_or(u32::MAX);
    let deadline = whole(form, &mut options, "options.lostAfterMinutes", "lostAfterMinutes", 1..=longest);
    asked.lost_after = deadline.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
    if let Some(mut strategy) = options.take("retryStrategy").and_then(|mut token| token.object()) {
        let path = "options.retryStrategy.maxAttempts";
        if let Some(most) = whole(form, &mut strategy, path, "maxAttempts", ATTEMPTS) {
            asked.max_attempts = most.into();
        }
    }
    if let Some(start) = options.take("scheduledStartTime") {
        asked.said.scheduled_at = start.text().and_then(|text| Time::parse(&text.to_str()));
        if asked.said.scheduled_at.is_none() {
            form.wrong("options.scheduledStartTime", "no_time", "Give a time as 2026-01-31T09:00:00Z.");
        }
    }
    if let Some(mut hooks) = options.take("webhooks") {
        match hooks.object() {
            Some(hooks) => {
                asked.webhooks = read_webhooks(form, "options.webhooks", hooks, &SEEDS, Style::Seed, courier);
            }
            None => form.wrong("options.webhooks", "wrong_type", "Give an object."),
        }
    }
}

/// A whole number within these bounds.
fn whole(
    form: &mut Form<'_>,
    from: &mut Object<'_>,
    path: &str,
    name: &str,
    bounds: RangeInclusive<u32>,
) -> Option<u32> {
    let value = from.take(name)?;
    let number = serde_json::from_str::<u32>(value.get()).ok().filter(|number| bounds.contains(number));
    if number.is_none() {
        let (least, most) = bounds.into_inner();
        form.wrong(path, "out_of_range", format!("Give a whole number from {least} to {most}."));
    }
    number
}

/// URLs may hold a credential: they are the endpoints', where they are sealed, and not kept twice.
fn without_webhooks(options: &Raw) -> Option<Raw> {
    let object = options.as_object()?;
    let mut fields = crate::model::Fields::from(&object);
    fields.remove("webhooks");
    (!fields.is_empty()).then(|| Raw::from_value(&fields))
}

fn read_object(form: &mut Form<'_>, name: &'static str) -> Option<Raw> {
    let raw = form.raw_object(name).value()?;
    if raw.get().len() > LONGEST_OBJECT {
        form.wrong(name, "too_long", format!("Shorten it to {LONGEST_OBJECT} bytes."));
        return None;
    }
    Some(raw)
}

fn read_webhooks(
    form: &mut Form<'_>,
    path: &str,
    mut hooks: Object<'_>,
    names: &Names,
    style: Style,
    courier: &dyn Courier,
) -> [Option<String>; 3] {
    let urls = names.webhooks.map(|name| {
        let field = format!("{path}.{name}");
        let value = hooks.take(name)?;
        let Ok(url) = serde_json::from_str::<String>(value.get()) else {
            form.wrong(field, "wrong_type", "Give a text.");
            return None;
        };
        if let Err(why) = check_url(&url, courier) {
            form.wrong(field, "url_refused", why);
        }
        Some(url)
    });
    if style == Style::Ours {
        let known = names.webhooks;
        let is_unknown = |(name, _): &(Text, _)| known.iter().all(|known| *name != **known);
        for (name, _) in hooks.rest().filter(is_unknown).take(MOST_NAMED) {
            let field = format!("{path}.{}", super::form::shorten(&name.to_str()));
            form.wrong(field, "unknown_field", format!("Give {}.", known.join(", ")));
        }
    }
    urls
}

fn read_contacts(form: &mut Form<'_>, list: Vec<Token<'_>>, names: &Names, style: Style) -> Vec<Contact> {
    if list.is_empty() {
        form.wrong("contacts", "empty", format!("Give 1 to {MOST_CONTACTS} contacts."));
        return Vec::new();
    }
    let (mut phones, mut ids) = (HashSet::new(), HashSet::new());
    let (mut contacts, mut wrong) = (Vec::with_capacity(list.len()), 0);
    for (at, element) in list.into_iter().enumerate() {
        let mut problems = Vec::new();
        let contact = read_contact(element, names, style, &mut problems);
        let bare = contact.phone.to_str().trim_start_matches('+').to_owned();
        if !contact.phone.is_empty() && !phones.insert(bare) {
            problems.push((
                names.phone.to_owned(),
                "repeated",
                "Give each number once: a batch calls it once.",
            ));
        }
        if let Some(id) = &contact.id
            && !ids.insert(id.clone())
        {
            problems.push(("id".to_owned(), "repeated", "Give each contact an id of its own, or none."));
        }
        for (name, code, detail) in problems {
            wrong += 1;
            if wrong <= MOST_NAMED {
                let field = if name.is_empty() {
                    format!("contacts[{at}]")
                } else {
                    format!("contacts[{at}].{name}")
                };
                form.wrong(field, code, detail);
            }
        }
        contacts.push(contact);
    }
    if wrong > MOST_NAMED {
        let detail = format!("{} more mistakes in contacts are not named here.", wrong - MOST_NAMED);
        form.wrong("contacts", "more", detail);
    }
    contacts
}

type Wrong = (String, &'static str, &'static str);

fn read_contact(mut element: Token<'_>, names: &Names, style: Style, wrong: &mut Vec<Wrong>) -> Contact {
    let mut contact = Contact::default();
    let Some(mut fields) = element.object() else {
        wrong.push((String::new(), "wrong_type", "Give an object."));
        return contact;
    };
    let mut text = |name: &'static str| {
        let value = fields.take(name)?;
        // Ids and numbers are often written without quotes; their digits are kept as they stand.
        let is_number = value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let text = value.text().or_else(|| is_number.then(|| Text::from(value.get())));
        match text {
            None => wrong.push((name.to_owned(), "wrong_type", "Give a text.")),
            Some(text) if text.as_bytes().len() > LONGEST_TEXT => {
                wrong.push((name.to_owned(), "too_long", "Shorten it to 2048 bytes."));
            }
            Some(text) if text.is_empty() => {}
            Some(text) => return Some(text),
        }
        None
    };
    let number = text(names.phone);
    contact.id = text("id");
    contact.name = text("name");
    contact.email = text("email");
    contact.company = text("company");
    match number.map(|number| phone::normalise(&number.to_str())) {
        Some(number) if is_number(&number) => contact.phone = Text::from(number),
        Some(_) => wrong.push((
            names.phone.to_owned(),
            "no_number",
            "Give a phone number with its country: +15551234567.",
        )),
        None if wrong.iter().any(|(name, ..)| name == names.phone) => {}
        None => wrong.push((names.phone.to_owned(), "missing", "Give each contact a phone number.")),
    }
    if let Some(value) = fields.take("metadata") {
        let raw = Raw::of(&value);
        match raw.as_object() {
            Some(_) if is_object(&raw) => contact.metadata = Some(raw),
            Some(_) => wrong.push(("metadata".to_owned(), "too_long", "Shorten it to 65536 bytes.")),
            None => wrong.push(("metadata".to_owned(), "wrong_type", "Give an object.")),
        }
    }
    let known = [names.phone, "id", "name", "email", "company", "metadata"];
    if style == Style::Ours {
        for (name, _) in fields.rest() {
            if wrong.len() > MOST_NAMED {
                break;
            }
            if !known.iter().any(|known| known.as_bytes() == name.as_bytes()) {
                let name = super::form::shorten(&name.to_str());
                wrong.push((name, "unknown_field", "A contact has no such field; put it into \"metadata\"."));
            }
        }
    }
    contact
}
