//! `/v1/replays`: what was delivered, or was not, is delivered once more: one delivery, or all that a selection names.
//! Refuses to know how the selection is looked through: that is the store's, in steps.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::calls::{self, CallName};
use super::cursor::{List, Listed};
use super::endpoint_form::MOST_NAMES;
use super::form::{Form, Given};
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::model::id::Kind;
use crate::model::replay::{RATES, Replay, ReplayOrder, Selection};
use crate::model::text::Text;
use crate::model::{DeliveryState, EventType, Outcome, Time};
use crate::store::Replays;

/// Deliveries a second, unless asked otherwise.
const DEFAULT_RATE: f64 = 100.0;

/// Which deliveries to make once more. What is left out does not matter; all that is given has to fit, and something has
/// to be given.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read` is what reads it")]
pub struct ReplayForm {
    /// One delivery.
    delivery_id: Option<String>,
    /// One event.
    event_id: Option<String>,
    /// Events about one call: `call_..`, or the vendor's id.
    call_id: Option<String>,
    /// Whose call `call_id` is, where several sources have one of the vendor's id.
    source_id: Option<String>,
    /// About calls of this batch as their records are today, and about the batch itself.
    batch_id: Option<String>,
    /// About calls of this campaign as their records are today.
    campaign_id: Option<String>,
    /// About calls of this agent as their records are today.
    agent_id: Option<String>,
    /// Events that were owed to this endpoint.
    endpoint_id: Option<String>,
    /// Events of these types.
    event_types: Option<Vec<String>>,
    /// About calls that ended like this: `completed`, `voicemail`, `no_answer`, `busy`, `failed`, `canceled`, `lost`.
    outcome: Option<String>,
    /// Events with this `timestamp` or a later one.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Events with an earlier `timestamp`.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// The state of the event's newest delivery to the endpoint. Without it all but pending ones, which come anyway.
    state: Option<String>,
    /// To this endpoint, as far as it would be owed such events today. Left out, each goes to its own endpoint again.
    to_endpoint_id: Option<String>,
    /// Above 0, at most 1000. Default 100.
    rate_per_second: Option<f64>,
    /// Only count. Default false.
    dry_run: Option<bool>,
}

/// A replay: a job in the background.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub struct ReplayView {
    id: String,
    /// `running`, `done` when everything was looked through, or `cancelled`.
    state: &'static str,
    dry_run: bool,
    /// What was asked for.
    #[schema(value_type = Object)]
    selection: SelectionView,
    to_endpoint_id: Option<String>,
    rate_per_second: f64,
    /// Events looked through.
    examined: i64,
    /// Events to look through; `null` along a call.
    total: Option<i64>,
    /// Deliveries planned; in a dry run, those that would be.
    deliveries: i64,
    /// Of them still pending.
    pending: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Time>,
}

/// A selection, without what does not matter.
#[derive(Debug, Default, Serialize)]
struct SelectionView {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    event_types: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

impl ReplayView {
    fn of(caller: &Caller, replay: Replay) -> Self {
        let ReplayOrder { selection, to, rate, dry_run } = replay.order;
        let id = |kind, number: Option<i64>| number.map(|number| caller.id(kind, number));
        let selection = SelectionView {
            event_id: id(Kind::Event, selection.event),
            call_id: id(Kind::Call, selection.call),
            batch_id: selection.batch,
            campaign_id: selection.campaign,
            agent_id: selection.agent,
            endpoint_id: id(Kind::Endpoint, selection.endpoint),
            event_types: selection.kinds.iter().map(|kind| kind.as_str()).collect(),
            outcome: selection.outcome.map(Outcome::as_str),
            from: selection.from,
            until: selection.until,
            state: selection.state.map(DeliveryState::as_str),
        };
        Self {
            id: caller.id(Kind::Replay, replay.number),
            state: replay.state.as_str(),
            dry_run,
            selection,
            to_endpoint_id: id(Kind::Endpoint, to),
            rate_per_second: rate,
            examined: replay.examined,
            total: replay.total,
            deliveries: replay.deliveries,
            pending: replay.open,
            created_at: replay.created_at,
            finished_at: replay.finished_at,
        }
    }
}

/// Replay deliveries
///
/// Makes a job that plans new deliveries of events that are there now, with the same event ids, encoded anew. It keeps to
/// its rate, goes behind everything that is fresh, keeps no order within a call and goes on after a restart.
#[utoipa::path(
    post, path = "/v1/replays", tag = "Replays", request_body = ReplayForm,
    responses(
        (status = 202, description = "It runs", body = ReplayView),
        (
            status = 409,
            description = "`too_many_replays`; `wrong_state` for a delivery that is pending; `ambiguous_call`",
        ),
    ),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<(StatusCode, Answer<ReplayView>), Problem> {
    let order = read(&state, &caller, &body).await?;
    let made =
        state.store.create_replay(caller.account, order, state.clock.now()).await?.ok_or_else(|| {
            let detail = "As many replays are running as an account may have. Wait for one or cancel it.";
            Problem::conflict("too_many_replays", detail)
        })?;
    Ok((StatusCode::ACCEPTED, Answer(ReplayView::of(&caller, made))))
}

async fn read(state: &ApiState, caller: &Caller, body: &[u8]) -> Result<ReplayOrder, Problem> {
    let mut form = Form::read(body)?;
    let delivery = number(&mut form, caller, "delivery_id", Kind::Delivery);
    let call_id = form.string("call_id").value();
    let source = number(&mut form, caller, "source_id", Kind::Source);
    if source.is_some() && call_id.is_none() {
        form.wrong("source_id", calls::NEEDS_CALL_ID, calls::SOURCE_ALONE);
    }
    let mut selection = Selection {
        event: number(&mut form, caller, "event_id", Kind::Event),
        endpoint: endpoint(&mut form, caller, "endpoint_id"),
        kinds: kinds(&mut form),
        batch: form.text("batch_id").value(),
        campaign: form.text("campaign_id").value(),
        agent: form.text("agent_id").value(),
        outcome: word(&mut form, "outcome", &Outcome::ALL, Outcome::as_str),
        from: time(&mut form, "from"),
        until: time(&mut form, "until"),
        state: word(&mut form, "state", &DeliveryState::ALL, DeliveryState::as_str),
        call: None,
    };
    let to = endpoint(&mut form, caller, "to_endpoint_id");
    let rate = match form.number("rate_per_second") {
        Given::Value(rate) if RATES.contains(&rate) => rate,
        Given::Value(_) => {
            form.wrong(
                "rate_per_second",
                "out_of_range",
                format!("Give a number from 0.0000116 (one a day) to {}.", RATES.end()),
            );
            DEFAULT_RATE
        }
        _ => DEFAULT_RATE,
    };
    let dry_run = form.boolean("dry_run").over_default(false, false);
    let is_empty = selection == Selection::default() && delivery.is_none() && call_id.is_none();
    if is_empty && form.is_fine() {
        let detail = "Say what to replay: give at least one of delivery_id, event_id, call_id, batch_id, campaign_id, \
            agent_id, endpoint_id, event_types, outcome, from, until, state.";
        form.wrong("selection", "empty", detail);
    }
    if selection.state == Some(DeliveryState::Pending) && to.is_none() {
        let detail =
            "What is pending is sent anyway; name another endpoint in to_endpoint_id, or retry the delivery.";
        form.wrong("state", "comes_anyway", detail);
    }
    form.finish()?;
    if let Some(delivery) = delivery {
        let found = state.store.delivery(caller.account, delivery).await?;
        let found = found.ok_or_else(|| Problem::not_found("delivery"))?;
        if to.is_none() && found.state == DeliveryState::Pending {
            let detail = "This delivery is pending: it is sent anyway. Retry it to have it sent now.";
            return Err(Problem::conflict("wrong_state", detail));
        }
        let other = |known: Option<i64>, is: i64| known.is_some_and(|known| known != is);
        if other(selection.event, found.event) || other(selection.endpoint, found.endpoint) {
            return Err(Problem::not_found("delivery"));
        }
        (selection.event, selection.endpoint) = (Some(found.event), Some(found.endpoint));
    }
    if let Some(call_id) = call_id {
        let name = CallName::new(call_id, source.map(Some));
        selection.call = Some(calls::find(&*state.store, caller, &name).await?.number);
    }
    Ok(ReplayOrder { selection, to, rate, dry_run })
}

fn number(form: &mut Form<'_>, caller: &Caller, name: &'static str, kind: Kind) -> Option<i64> {
    let id = form.string(name).value()?;
    let number = caller.number(kind, &id);
    if number.is_none() {
        form.wrong(name, "not_found", "This account has nothing of this id. Give one as the API shows it.");
    }
    number
}

fn endpoint(form: &mut Form<'_>, caller: &Caller, name: &'static str) -> Option<i64> {
    let number = number(form, caller, name, Kind::Endpoint)?;
    if caller.config.endpoint(number).is_none() {
        form.wrong(name, "not_found", "This account has no such endpoint. Lists show what there is.");
    }
    Some(number)
}

fn kinds(form: &mut Form<'_>) -> Vec<EventType> {
    let mut kinds = Vec::new();
    let given = form.list("event_types", MOST_NAMES).value().unwrap_or_default();
    for (at, element) in given.into_iter().enumerate() {
        let name: Option<Text> = serde_json::from_str(element.get()).ok();
        match name.and_then(|name| EventType::parse(&name.to_str())) {
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None => {
                let names = EventType::ALL.map(EventType::as_str).join(", ");
                form.wrong(
                    format!("event_types[{at}]"),
                    "unknown_event_type",
                    format!("Give one of: {names}."),
                );
            }
        }
    }
    kinds
}

fn word<T: Copy>(
    form: &mut Form<'_>,
    name: &'static str,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Option<T> {
    let word = form.string(name).value()?;
    let found = all.iter().copied().find(|&known| as_str(known) == word);
    if found.is_none() {
        let names: Vec<_> = all.iter().map(|&known| as_str(known)).collect();
        form.wrong(name, "unknown_value", format!("Give one of: {}.", names.join(", ")));
    }
    found
}

fn time(form: &mut Form<'_>, name: &'static str) -> Option<Time> {
    let text = form.string(name).value()?;
    let time = Time::parse(&text);
    if time.is_none() {
        form.wrong(name, "wrong_type", "Give a time like 2026-03-01T12:00:00Z.");
    }
    time
}

/// List replays
#[utoipa::path(
    get, path = "/v1/replays", tag = "Replays",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "Newest first", body = Listed<ReplayView>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<ReplayView>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Replays.page(&mut query, key, caller.tag);
    query.finish()?;
    let found = state.store.replays(caller.account, page).await?;
    let (found, next_cursor) = List::Replays.cut(found, page, key, caller.tag, |replay| replay.number);
    Ok(Answer(Listed {
        data: found.into_iter().map(|replay| ReplayView::of(&caller, replay)).collect(),
        next_cursor,
    }))
}

/// Read a replay
#[utoipa::path(
    get, path = "/v1/replays/{id}", tag = "Replays", params(("id" = String, Path)),
    responses((status = 200, description = "How far it has come", body = ReplayView)),
)]
pub async fn read_one(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<ReplayView>, Problem> {
    Ok(Answer(find(&*state.store, &caller, &id).await?))
}

async fn find(replays: &dyn Replays, caller: &Caller, id: &str) -> Result<ReplayView, Problem> {
    let missing = || Problem::not_found("replay");
    let number = caller.number(Kind::Replay, id).ok_or_else(missing)?;
    let found = replays.replay(caller.account, number).await?.ok_or_else(missing)?;
    Ok(ReplayView::of(caller, found))
}

/// Cancel a replay
///
/// It plans nothing more, and what it planned and is still pending is cancelled with it, in steps.
#[utoipa::path(
    post, path = "/v1/replays/{id}/cancel", tag = "Replays", params(("id" = String, Path)),
    responses((status = 200, description = "It is cancelled", body = ReplayView), (status = 409, description = "It is over")),
)]
pub async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<ReplayView>, Problem> {
    Form::read(&body)?.finish()?;
    let current = find(&*state.store, &caller, &id).await?;
    let number = caller.number(Kind::Replay, &id).ok_or_else(|| Problem::not_found("replay"))?;
    if !state.store.cancel_replay(caller.account, number, state.clock.now()).await? {
        let detail = format!("This one is {} and nothing of it is pending.", current.state);
        return Err(Problem::conflict("wrong_state", detail));
    }
    Ok(Answer(find(&*state.store, &caller, &id).await?))
}
