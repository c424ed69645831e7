//! `/v1/agents`: the agents, assistants and prompts that calls told of or somebody made. The post-call webhook of one
//! (seed 001) is an endpoint like any other, in the dialect `cllr` and scoped to it; it is kept nowhere else.
//! Refuses to know how calls are counted.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::analytics::Numbers;
use super::auth::Caller;
use super::body::{Id, Json};
use super::campaigns::{Progress, find, make, page, read_id, read_name};
use super::cursor::{List, Listed};
use super::form::{Form, Given};
use super::problem::Problem;
use super::state::ApiState;
use super::{endpoint_form, endpoints, redact};
use crate::ledger::tally::Dimension;
use crate::model::endpoint::Scope;
use crate::model::{AccountKey, DialectName, Endpoint, Text, Time};
use crate::store::analytics::{Mentioned, Setting};
use crate::store::{AccountConfig, AccountConfigs};

/// An agent, assistant or prompt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Agent)]
pub struct AgentView {
    /// The vendor's id.
    #[schema(value_type = String)]
    agent_id: Text,
    #[schema(value_type = Option<String>)]
    name: Option<Text>,
    /// When it was first heard of.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    webhooks: Webhooks,
    progress: Progress,
    /// Its calls that ended.
    ended: Numbers,
}

/// Who is told of an agent's calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhooks {
    /// Where the data of completed calls goes, as seed 001 has it: once, unsigned.
    #[serde(rename = "postCall")]
    post_call: Option<String>,
    /// The endpoint that this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
}

/// What a new agent may say; a change takes the same fields but the id.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation")]
pub struct AgentForm {
    /// The vendor's id, as calls carry it.
    agent_id: String,
    /// What people call it. Left out, it is the name that calls give.
    name: Option<String>,
    /// `{"postCall": url}` makes or changes the endpoint that is told of this agent's completed calls in the dialect
    /// `cllr`; `{"postCall": null}` deletes it.
    #[schema(value_type = Option<Object>)]
    webhooks: Option<()>,
}

/// What a change of an agent may say.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation")]
pub struct AgentChange {
    /// `null` goes back to the name that calls give.
    name: Option<String>,
    /// As for a new one.
    #[schema(value_type = Option<Object>)]
    webhooks: Option<()>,
}

/// The endpoint of an agent's `postCall`: the oldest one in its dialect that hears this agent and nothing else.
fn post_call(config: &AccountConfig, agent: &Text) -> Option<Arc<Endpoint>> {
    let scope = Scope { agent_id: Some(agent.clone()), ..Scope::default() };
    let is_its = |endpoint: &&Arc<Endpoint>| endpoint.dialect == DialectName::Cllr && endpoint.scope == scope;
    config.endpoints.iter().find(is_its).cloned()
}

fn post_call_now(configs: &dyn AccountConfigs, account: AccountKey, agent: &Text) -> Option<Arc<Endpoint>> {
    post_call(&*configs.config(account)?, agent)
}

fn view(configs: &dyn AccountConfigs, account: AccountKey, mentioned: Mentioned) -> AgentView {
    let endpoint = post_call_now(configs, account, &mentioned.id);
    AgentView {
        webhooks: Webhooks {
            post_call: endpoint.as_ref().map(|endpoint| redact::url(&endpoint.url)),
            endpoint_id: endpoint.map(|endpoint| endpoint.id.clone()),
        },
        progress: Progress::of(&mentioned),
        ended: Numbers::of(&mentioned.tally),
        agent_id: mentioned.id,
        name: mentioned.name,
        created_at: mentioned.created_at,
    }
}

impl AgentView {
    /// As it is shown to who has just set its URL: with the whole of it.
    fn with_url(mut self, set: Option<String>) -> Self {
        self.webhooks.post_call = set.or(self.webhooks.post_call);
        self
    }
}

/// Reads `webhooks.postCall`: left out it stays, and so it does as it was shown; `null` or empty it goes.
fn read_post_call(state: &ApiState, account: AccountKey, agent: &Text, form: &mut Form<'_>) -> Given<String> {
    let Given::Value(mut webhooks) = form.object("webhooks") else { return Given::Absent };
    let is_said = webhooks.peek("postCall").is_some();
    let url = match webhooks.take("postCall").map(|token| serde_json::from_str::<String>(token.get())) {
        None if is_said => return Given::Null,
        None => return Given::Absent,
        Some(Ok(url)) if url.is_empty() => return Given::Null,
        Some(Ok(url)) => url,
        Some(Err(_)) => {
            form.wrong("webhooks.postCall", "wrong_type", "Give a text.");
            return Given::Absent;
        }
    };
    if post_call_now(&*state.store, account, agent).is_some_and(|known| url == redact::url(&known.url)) {
        return Given::Absent;
    }
    match endpoint_form::check_url(&url, state.courier.as_ref()) {
        Ok(()) => Given::Value(url),
        Err(why) => {
            form.wrong("webhooks.postCall", "url_refused", why);
            Given::Absent
        }
    }
}

/// Makes, changes or deletes the endpoint that a `postCall` is.
async fn put_post_call(
    state: &ApiState,
    account: AccountKey,
    agent: &Text,
    url: Given<String>,
) -> Result<(), Problem> {
    let (known, now, courier) =
        (post_call_now(&*state.store, account, agent), state.clock.now(), state.courier.as_ref());
    match (url, known) {
        (Given::Value(url), known) if known.as_ref().is_none_or(|known| known.url != url) => {
            // What is there may be another one by the time it is written: an agent has one such endpoint, whoever makes it.
            let set = |config: &AccountConfig| match post_call(config, agent) {
                Some(known) => {
                    let form = json!({ "url": url }).to_string();
                    endpoint_form::change(form.as_bytes(), &known, courier)
                }
                None => {
                    let form =
                        json!({ "url": url, "dialect": DialectName::Cllr.as_str(), "agent_id": agent });
                    endpoint_form::create(form.to_string().as_bytes(), account, now, courier)
                }
            };
            endpoints::put(state, account, set).await?;
        }
        (Given::Null, Some(known)) => {
            state.store.delete_endpoint(account, known.number, now).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Make an agent
///
/// An agent that a call told of is there already: change it.
#[utoipa::path(
    post, path = "/v1/agents", tag = "Analytics", request_body = AgentForm,
    responses((status = 201, description = "Made", body = AgentView)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<(StatusCode, Answer<AgentView>), Problem> {
    let (mut form, account) = (Form::read(&body)?, caller.account);
    let id = read_id(&mut form, "agent_id").unwrap_or_default();
    let (name, url) = (read_name(&mut form), read_post_call(&state, account, &id, &mut form));
    form.finish()?;
    let setting = Setting { id: id.clone(), name, expected_calls: None };
    let made = make(&state, account, Dimension::Agent, setting).await?;
    let set = url.clone().value();
    put_post_call(&state, account, &id, url).await?;
    Ok((StatusCode::CREATED, Answer(view(&*state.store, account, made).with_url(set))))
}

/// List agents
#[utoipa::path(
    get, path = "/v1/agents", tag = "Analytics",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "In the order of their ids", body = Listed<AgentView>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<AgentView>>, Problem> {
    let (found, next_cursor) =
        page(&state, &caller, Dimension::Agent, List::Agents, query.as_deref()).await?;
    let data = found.into_iter().map(|found| view(&*state.store, caller.account, found)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// Read an agent
#[utoipa::path(
    get, path = "/v1/agents/{id}", tag = "Analytics",
    params(("id" = String, Path, description = "The vendor's id")),
    responses((status = 200, description = "The agent", body = AgentView)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<AgentView>, Problem> {
    let found = find(&*state.store, caller.account, Dimension::Agent, Text::from(id)).await?;
    Ok(Answer(view(&*state.store, caller.account, found)))
}

/// Change an agent
#[utoipa::path(
    patch, path = "/v1/agents/{id}", tag = "Analytics",
    params(("id" = String, Path, description = "The vendor's id")), request_body = AgentChange,
    responses((status = 200, description = "The agent as it is now", body = AgentView)),
)]
pub async fn change(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<AgentView>, Problem> {
    let known = find(&*state.store, caller.account, Dimension::Agent, Text::from(id)).await?;
    let mut form = Form::read(&body)?;
    let (name, url) = (read_name(&mut form), read_post_call(&state, caller.account, &known.id, &mut form));
    form.finish()?;
    put(&state, caller.account, known.id, name, url).await.map(Answer)
}

async fn put(
    state: &ApiState,
    account: AccountKey,
    id: Text,
    name: Option<Option<Text>>,
    url: Given<String>,
) -> Result<AgentView, Problem> {
    let setting = Setting { id: id.clone(), name, expected_calls: None };
    state.store.put_mentioned(account, Dimension::Agent, setting, state.clock.now()).await?;
    let set = url.clone().value();
    put_post_call(state, account, &id, url).await?;
    Ok(view(&*state.store, account, find(&*state.store, account, Dimension::Agent, id).await?).with_url(set))
}

/// Set an agent's post-call webhook, as seed 001 does
///
/// Takes `{"webhooks": {"postCall": url}}`, and `name`; whatever else the agent's settings have is left alone. Makes the
/// agent if it is not there. The key comes in `Authorization: Bearer` or `x-api-key`.
#[utoipa::path(
    put, path = "/agents/{id}", tag = "Doors",
    params(("id" = String, Path, description = "The vendor's id")), request_body(content = Object),
    responses((status = 200, description = "The agent as it is now", body = AgentView)),
)]
pub async fn put_seed(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<AgentView>, Problem> {
    let mut form = Form::read(&body)?;
    let agent = Text::from(id.as_str());
    let (name, url) = (read_name(&mut form), read_post_call(&state, caller.account, &agent, &mut form));
    if id.len() > LONGEST_ID {
        form.wrong("id", "too_long", format!("Shorten it to {LONGEST_ID} bytes."));
    }
    form.finish_leniently()?;
    put(&state, caller.account, agent, name, url).await.map(Answer)
}

/// The longest id in bytes.
const LONGEST_ID: usize = 256;
