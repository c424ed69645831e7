//! `/v1/endpoints`: where an account's events are owed. Refuses to know how they get there, and which settings
//! are right: that is `endpoint_form`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::changes;
use super::credential::{self, Shown};
use super::cursor::{List, Listed};
use super::endpoint_form::{self, EndpointForm};
use super::form::Form;
use super::problem::Problem;
use super::query::Query;
use super::redact;
use super::shown_once::once;
use super::state::ApiState;
use crate::dialect::{self, signature};
use crate::model::endpoint::{DEFAULT_MAX_IN_FLIGHT, EndpointState};
use crate::model::id::Kind;
use crate::model::{AccountKey, DialectName, Endpoint, EventType, Text, Time};
use crate::store::{AccountConfig, AccountConfigs, EndpointRef};

/// The reason of an endpoint that was disabled through the API.
const BY_HAND: &str = "disabled by hand";

/// An endpoint, with every option as it takes effect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub struct EndpointView {
    id: String,
    /// The values of its query are hidden, but in the answer to who has just set it; sent back as shown, they stay as they
    /// are.
    url: String,
    /// `voicegenie`, `cllr`, `dialgen`, `aloro`, `air` or `standard`.
    dialect: &'static str,
    /// `active` or `disabled`. A disabled one goes on being owed.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
    events: Vec<&'static str>,
    #[schema(value_type = Option<String>)]
    agent_id: Option<Text>,
    #[schema(value_type = Option<String>)]
    campaign_id: Option<Text>,
    #[schema(value_type = Option<String>)]
    batch_id: Option<Text>,
    completed_only: bool,
    include_recording: bool,
    ordered: bool,
    /// Values are hidden, unless they were given as plain; sent back as shown, they stay as they are.
    headers: BTreeMap<String, String>,
    #[schema(value_type = f64)]
    timeout_seconds: Seconds,
    /// Waits after each failed attempt; `[]` means once.
    #[schema(value_type = Vec<f64>)]
    retry_delays_seconds: Vec<Seconds>,
    /// From each node.
    max_in_flight: u32,
    /// By each node; `null` is unlimited.
    rate_limit_per_second: Option<f64>,
    /// What the end of a call is held for.
    wait_for: Vec<&'static str>,
    /// For how long; `null` when nothing is waited for.
    up_to_minutes: Option<f64>,
    /// Whether requests are signed or carry a token.
    has_secret: bool,
    /// The key that receivers verify with, when the secret is an ed25519 one.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// What to look at once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    #[serde(flatten)]
    shown: Shown,
}

/// A length of time as a number of seconds: `20`, `0.5`.
#[derive(Debug)]
struct Seconds(Duration);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

impl EndpointView {
    /// As it is shown: with what was made for the caller just now.
    pub fn of(endpoint: &Endpoint, shown: Shown) -> Self {
        let (dialect, delivering) = (dialect::get(endpoint.dialect), &endpoint.delivering);
        let policy = dialect.policy();
        let (state, disabled_reason) = match &endpoint.state {
            EndpointState::Active => ("active", None),
            EndpointState::Disabled { reason } => ("disabled", Some(reason.clone())),
        };
        let events = endpoint.events.as_deref().unwrap_or(dialect.triggers());
        let show = |(name, value): &(String, String)| {
            let value = if endpoint.shows_header(name) { value.as_str() } else { redact::HIDDEN };
            (name.clone(), value.to_owned())
        };
        let newest = endpoint.credential.secrets.last();
        let delays = delivering.retry_delays.as_ref().unwrap_or(&policy.retry_delays);
        Self {
            id: endpoint.id.clone(),
            url: redact::url(&endpoint.url),
            dialect: endpoint.dialect.as_str(),
            state,
            disabled_reason,
            events: events.iter().copied().map(EventType::as_str).collect(),
            agent_id: endpoint.scope.agent_id.clone(),
            campaign_id: endpoint.scope.campaign_id.clone(),
            batch_id: endpoint.scope.batch_id.clone(),
            completed_only: endpoint.completed_only,
            include_recording: endpoint.shape.include_recording,
            ordered: endpoint.ordered,
            headers: endpoint.headers.iter().map(show).collect(),
            timeout_seconds: Seconds(delivering.timeout.unwrap_or(policy.timeout)),
            retry_delays_seconds: delays.iter().copied().map(Seconds).collect(),
            max_in_flight: delivering.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            rate_limit_per_second: delivering.rate_limit,
            wait_for: delivering.wait.iter().flat_map(|wait| &wait.parts).map(|part| part.as_str()).collect(),
            up_to_minutes: delivering.wait.as_ref().map(|wait| wait.up_to.as_secs_f64() / 60.0),
            has_secret: !credential::is_empty(&endpoint.credential),
            public_key: newest
                .and_then(|dated| signature::public_key(&String::from_utf8_lossy(dated.secret.expose()))),
            created_at: endpoint.created_at,
            warning: plain_warning(endpoint).map(str::to_owned),
            shown,
        }
    }
}

/// As it is shown to who has just set its URL: with the whole of it.
fn with_url(view: EndpointView, endpoint: &Endpoint) -> EndpointView {
    EndpointView { url: endpoint.url.clone(), ..view }
}

/// What the answer to who made or changed an endpoint shows beside the endpoint: that another one has the same URL.
fn with_namesake(view: EndpointView, configs: &dyn AccountConfigs, endpoint: &Endpoint) -> EndpointView {
    let config = configs.config(endpoint.account);
    let is_same = |other: &&Arc<Endpoint>| {
        other.number != endpoint.number && !other.of_batch && other.url == endpoint.url
    };
    let namesake = config.as_ref().filter(|_| !endpoint.of_batch);
    let Some(other) = namesake.and_then(|config| config.endpoints.iter().find(is_same)) else { return view };
    let doubled = format!(
        "The endpoint {} has the same URL: what both are owed arrives there twice. Delete one of them if that is not meant.",
        other.id
    );
    let warning = view.warning.iter().chain([&doubled]).map(String::as_str).collect::<Vec<_>>().join(" ");
    EndpointView { warning: Some(warning), ..view }
}

fn plain_warning(endpoint: &Endpoint) -> Option<&'static str> {
    let is_plain = endpoint.url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
    (is_plain && endpoint.dialect != DialectName::Cllr).then_some(
        "This URL is http: everybody on the way can read the calls. Use https if the receiver has it.",
    )
}

/// The endpoint of an id, as it is now.
///
/// # Errors
/// 404 when this account has none of that id.
pub fn find(configs: &dyn AccountConfigs, caller: &Caller, id: &str) -> Result<Arc<Endpoint>, Problem> {
    let config = configs.config(caller.account).ok_or_else(|| Problem::not_found("endpoint"))?;
    find_in(&config, caller, id)
}

fn find_in(config: &AccountConfig, caller: &Caller, id: &str) -> Result<Arc<Endpoint>, Problem> {
    let number = caller.number(Kind::Endpoint, id);
    number.and_then(|number| config.endpoint(number)).cloned().ok_or_else(|| Problem::not_found("endpoint"))
}

/// Writes an endpoint that is made of what is there, and lets what it is owed go by the new settings.
///
/// # Errors
/// As [`changes::change`].
pub async fn put<T: Send>(
    state: &ApiState,
    account: AccountKey,
    make: impl FnMut(&AccountConfig) -> Result<(Endpoint, T), Problem> + Send,
) -> Result<(Arc<Endpoint>, T), Problem> {
    let (endpoint, beside) = changes::change(state, account, make).await?;
    state.queues.wake(vec![EndpointRef { account, number: endpoint.number }]);
    Ok((endpoint, beside))
}

/// Changes the endpoint of an id. Gives it with what else `make` gave.
///
/// # Errors
/// 404 when this account has none of that id; else as [`changes::change`].
pub async fn change_one<T: Send>(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    mut make: impl FnMut(&Endpoint) -> Result<(Endpoint, T), Problem> + Send,
) -> Result<(Arc<Endpoint>, T), Problem> {
    put(state, caller.account, |config| make(&*find_in(config, caller, id)?)).await
}

/// Make an endpoint
#[utoipa::path(
    post, path = "/v1/endpoints", tag = "Endpoints", request_body = EndpointForm,
    responses((status = 201, description = "Made; a generated credential is shown here and never again", body = EndpointView)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<Response, Problem> {
    let (account, now) = (caller.account, state.clock.now());
    let (endpoint, made) = endpoint_form::create(&body, account, now, state.courier.as_ref())?;
    let endpoint = state.store.put_endpoint(endpoint, None).await?.ok_or_else(Problem::internal)?;
    state.queues.wake(vec![EndpointRef { account, number: endpoint.number }]);
    Ok(once(StatusCode::CREATED, |reveal| {
        let view = with_url(EndpointView::of(&endpoint, made.shown(reveal)), &endpoint);
        with_namesake(view, &*state.store, &endpoint)
    }))
}

/// List endpoints
#[utoipa::path(
    get, path = "/v1/endpoints", tag = "Endpoints",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "Oldest first", body = Listed<EndpointView>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<EndpointView>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Endpoints.page(&mut query, key, caller.tag);
    query.finish()?;
    let after = |endpoint: &&Arc<Endpoint>| page.after.is_none_or(|after| endpoint.number > after);
    let found = caller.config.endpoints.iter().filter(after).take(page.limit).collect();
    let (found, next_cursor) = List::Endpoints.cut(found, page, key, caller.tag, |endpoint| endpoint.number);
    let view = |endpoint: &Arc<Endpoint>| EndpointView::of(endpoint, Shown::default());
    Ok(Answer(Listed { data: found.into_iter().map(view).collect(), next_cursor }))
}

/// Read an endpoint
#[utoipa::path(
    get, path = "/v1/endpoints/{id}", tag = "Endpoints", params(("id" = String, Path)),
    responses((status = 200, description = "The endpoint", body = EndpointView)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<EndpointView>, Problem> {
    Ok(Answer(EndpointView::of(&*find(&*state.store, &caller, &id)?, Shown::default())))
}

/// Change an endpoint
///
/// Fields that are left out stay, `null` sets one back to its default. Deliveries that are already owed keep the
/// dialect and options that they were planned with; URL, credential, headers and limits are always the current ones.
#[utoipa::path(
    patch, path = "/v1/endpoints/{id}", tag = "Endpoints", params(("id" = String, Path)),
    request_body = ref("#/components/schemas/EndpointChange"),
    responses((status = 200, description = "The endpoint as it is now", body = EndpointView)),
)]
pub async fn change(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Response, Problem> {
    let change = |current: &Endpoint| {
        let (endpoint, made) = endpoint_form::change(&body, current, state.courier.as_ref())?;
        let is_moved = endpoint.url != current.url;
        Ok((endpoint, (made, is_moved)))
    };
    let (changed, (made, is_moved)) = change_one(&state, &caller, &id, change).await?;
    Ok(once(StatusCode::OK, |reveal| {
        let view = EndpointView::of(&changed, made.shown(reveal));
        let view = if is_moved { with_url(view, &changed) } else { view };
        with_namesake(view, &*state.store, &changed)
    }))
}

/// Delete an endpoint
///
/// What it is still owed becomes cancelled; its row in the reconciliation stays.
#[utoipa::path(
    delete, path = "/v1/endpoints/{id}", tag = "Endpoints", params(("id" = String, Path)),
    responses((status = 204, description = "Deleted")),
)]
pub async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let number = find(&*state.store, &caller, &id)?.number;
    match state.store.delete_endpoint(caller.account, number, state.clock.now()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("endpoint")),
    }
}

/// Enable an endpoint
///
/// Everything that it was owed meanwhile is sent.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/enable", tag = "Endpoints", params(("id" = String, Path)),
    responses((status = 200, description = "The endpoint as it is now", body = EndpointView)),
)]
pub async fn enable(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<EndpointView>, Problem> {
    let target = begin_turn(&state, &caller, &id, &body)?;
    if !state.store.enable_endpoint(target).await? {
        return Err(Problem::not_found("endpoint"));
    }
    state.queues.wake(vec![target]);
    Ok(Answer(EndpointView::of(&*find(&*state.store, &caller, &id)?, Shown::default())))
}

/// Disable an endpoint
///
/// Nothing is sent until it is enabled again; what it is owed stays pending.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/disable", tag = "Endpoints", params(("id" = String, Path)),
    responses((status = 200, description = "The endpoint as it is now", body = EndpointView)),
)]
pub async fn disable(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<EndpointView>, Problem> {
    let target = begin_turn(&state, &caller, &id, &body)?;
    let disabled = state.store.disable_endpoint(target, BY_HAND.to_owned(), state.clock.now()).await?;
    let mut wake = disabled.ok_or_else(|| Problem::not_found("endpoint"))?;
    // What waits in memory goes back to the store.
    wake.push(target);
    state.queues.wake(wake);
    Ok(Answer(EndpointView::of(&*find(&*state.store, &caller, &id)?, Shown::default())))
}

fn begin_turn(state: &ApiState, caller: &Caller, id: &str, body: &[u8]) -> Result<EndpointRef, Problem> {
    let endpoint = find(&*state.store, caller, id)?;
    Form::read(body)?.finish()?;
    Ok(EndpointRef { account: endpoint.account, number: endpoint.number })
}
