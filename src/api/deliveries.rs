//! `/v1/deliveries`: what is owed to whom, with every attempt. Refuses to know when an attempt is made.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::calls::{self, CallName};
use super::cursor::{List, Listed};
use super::form::Form;
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::model::id::Kind;
use crate::model::{Attempt, DeliveryState, Text, Time};
use crate::store::{Deliveries, DeliveryFilter, DeliveryView, ManualOutcome, Page};

/// Calls of one vendor's id whose deliveries are listed together: one for each source, as a rule.
const MOST_CALLS: usize = 20;

/// A delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryRecord {
    id: String,
    event_id: String,
    event_type: &'static str,
    endpoint_id: String,
    /// The vendor's id of the call, if the event is about one.
    #[schema(value_type = Option<String>)]
    call_id: Option<Text>,
    /// The replay that planned it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_id: Option<String>,
    /// `pending`, `delivered`, `dead` or `cancelled`.
    state: &'static str,
    /// `null` when it is not tried again, under way now, or waits for an earlier one of the same call.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Time>,
    attempts: Vec<AttemptRecord>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptRecord {
    /// 1 for the first.
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    status: Option<u16>,
    latency_ms: f64,
    error: Option<String>,
    /// The first 64 KiB of the answer.
    response_body: Option<String>,
    /// A 2xx that took longer than the dialect advises.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    slow: bool,
}

impl AttemptRecord {
    fn of(attempt: Attempt) -> Self {
        let Attempt { number, at, latency_ms, status, error, response_body, slow } = attempt;
        Self { number, at, status, latency_ms, error, response_body, slow }
    }
}

impl DeliveryRecord {
    fn of(caller: &Caller, view: DeliveryView) -> Self {
        Self {
            id: caller.id(Kind::Delivery, view.number),
            event_id: caller.id(Kind::Event, view.event),
            event_type: view.kind.as_str(),
            endpoint_id: caller.id(Kind::Endpoint, view.endpoint),
            call_id: view.call_id,
            replay_id: view.replay.map(|number| caller.id(Kind::Replay, number)),
            state: view.state.as_str(),
            next_attempt_at: view.next_attempt_at,
            attempts: view.attempts.into_iter().map(AttemptRecord::of).collect(),
        }
    }
}

/// List deliveries
///
/// A page ends at its limit or at 4 MiB of answers, whichever comes first.
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "Deliveries",
    params(
        ("endpoint_id" = Option<String>, Query), ("event_id" = Option<String>, Query),
        ("call_id" = Option<String>, Query, description = "`call_..`, or the vendor's id: then of every source's call of that id"),
        ("source_id" = Option<String>, Query, description = "Whose call `call_id` is"),
        ("state" = Option<String>, Query, description = "pending, delivered, dead, cancelled"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50"),
    ),
    responses((status = 200, description = "Newest first", body = Listed<DeliveryRecord>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<DeliveryRecord>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Deliveries.page(&mut query, key, caller.tag);
    let endpoint = query.id(&caller, "endpoint_id", Kind::Endpoint);
    let event = query.id(&caller, "event_id", Kind::Event);
    let call = CallName::read_filter(&mut query, &caller);
    let states = DeliveryState::ALL.map(DeliveryState::as_str);
    let wanted = query.word("state", DeliveryState::parse, &states);
    query.finish()?;

    let is_of_nothing = endpoint == Some(None) || event == Some(None);
    let filter =
        DeliveryFilter { endpoint: endpoint.flatten(), event: event.flatten(), call: None, state: wanted };
    let found = match call {
        _ if is_of_nothing => Vec::new(),
        None => state.store.deliveries(caller.account, filter, page).await?,
        Some(call) => of_call(&state, &caller, filter, page, &call).await?,
    };
    let body = |attempt: &Attempt| attempt.response_body.as_ref().map_or(0, String::len);
    let size = |view: &DeliveryView| view.attempts.iter().map(body).sum();
    let (found, next_cursor) =
        List::Deliveries.cut_by_size(found, page, key, caller.tag, |view| view.number, size);
    let data = found.into_iter().map(|view| DeliveryRecord::of(&caller, view)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

async fn of_call(
    state: &ApiState,
    caller: &Caller,
    filter: DeliveryFilter,
    page: Page,
    call: &CallName,
) -> Result<Vec<DeliveryView>, Problem> {
    let mut found = Vec::new();
    for call in calls::named(&*state.store, caller, call, MOST_CALLS).await? {
        let filter = DeliveryFilter { call: Some(call.number), ..filter.clone() };
        found.extend(state.store.deliveries(caller.account, filter, page).await?);
    }
    found.sort_by_key(|view| std::cmp::Reverse(view.number));
    found.truncate(page.limit);
    Ok(found)
}

/// Read a delivery
#[utoipa::path(
    get, path = "/v1/deliveries/{id}", tag = "Deliveries", params(("id" = String, Path)),
    responses((status = 200, description = "With every attempt", body = DeliveryRecord)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<DeliveryRecord>, Problem> {
    let number = caller.number(Kind::Delivery, &id).ok_or_else(missing)?;
    Ok(Answer(DeliveryRecord::of(&caller, find(&*state.store, &caller, number).await?)))
}

async fn find(deliveries: &dyn Deliveries, caller: &Caller, number: i64) -> Result<DeliveryView, Problem> {
    deliveries.delivery(caller.account, number).await?.ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::not_found("delivery")
}

/// Try a delivery now
///
/// For one that is dead, and for one that is pending and should not wait for its time.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/retry", tag = "Deliveries", params(("id" = String, Path)),
    responses((status = 200, description = "It is tried now", body = DeliveryRecord), (status = 409, description = "It is delivered or cancelled")),
)]
pub async fn retry(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<DeliveryRecord>, Problem> {
    let number = caller.number(Kind::Delivery, &id).ok_or_else(missing)?;
    Form::read(&body)?.finish()?;
    let turned = state.store.retry(caller.account, number, state.clock.now()).await?;
    turned_to(turned, "Only a pending or dead delivery can be retried.")?;
    let view = find(&*state.store, &caller, number).await?;
    state.queues.wake(vec![caller.endpoint(view.endpoint)]);
    Ok(Answer(DeliveryRecord::of(&caller, view)))
}

/// Call a delivery off
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/cancel", tag = "Deliveries", params(("id" = String, Path)),
    responses((status = 200, description = "It is cancelled", body = DeliveryRecord), (status = 409, description = "It is not pending")),
)]
pub async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<DeliveryRecord>, Problem> {
    let number = caller.number(Kind::Delivery, &id).ok_or_else(missing)?;
    Form::read(&body)?.finish()?;
    let turned = state.store.cancel(caller.account, number, state.clock.now()).await?;
    turned_to(turned, "Only a pending delivery can be cancelled.")?;
    let view = find(&*state.store, &caller, number).await?;
    // The next one of the same call may go now.
    state.queues.wake(vec![caller.endpoint(view.endpoint)]);
    Ok(Answer(DeliveryRecord::of(&caller, view)))
}

fn turned_to(turned: ManualOutcome, rule: &str) -> Result<(), Problem> {
    match turned {
        ManualOutcome::Done => Ok(()),
        ManualOutcome::Missing => Err(missing()),
        ManualOutcome::WrongState(state) => {
            Err(Problem::conflict("wrong_state", format!("This one is {}. {rule}", state.as_str())))
        }
    }
}
