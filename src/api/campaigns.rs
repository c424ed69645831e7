//! `/v1/campaigns`: the campaigns that calls told of or somebody made, with the numbers and the progress of their calls.
//! Refuses to know how they are counted.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::analytics::{Numbers, percent};
use super::auth::Caller;
use super::body::{Id, Json};
use super::cursor::{List, Listed};
use super::form::{Form, Given};
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::ledger::tally::Dimension;
use crate::model::{AccountKey, Raw, Text, Time, decimal};
use crate::store::Analytics;
use crate::store::analytics::{Mentioned, Setting};

/// The longest id and name in bytes.
const LONGEST: usize = 256;

/// A campaign.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Campaign)]
pub struct CampaignView {
    /// The vendor's id.
    #[schema(value_type = String)]
    campaign_id: Text,
    #[schema(value_type = Option<String>)]
    name: Option<Text>,
    /// When it was first heard of.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    progress: Progress,
    /// Its calls that ended.
    #[schema(value_type = Numbers)]
    ended: Numbers,
}

/// How far the calls of a campaign or an agent have come.
#[derive(Debug, Serialize, ToSchema)]
pub struct Progress {
    /// How many calls there will be, where somebody said.
    expected_calls: Option<u32>,
    /// Calls that are known.
    calls: i64,
    /// Of them asked for and not dialed yet,
    requested: i64,
    /// being dialed or talked on,
    in_progress: i64,
    /// and over.
    ended: i64,
    /// Those that are over of those that are expected (or known, if that is more), in percent; `null` without either.
    #[schema(value_type = Option<f64>)]
    percent_complete: Option<Raw>,
}

impl Progress {
    /// Of a record.
    pub fn of(mentioned: &Mentioned) -> Self {
        let tally = &mentioned.tally;
        let (requested, in_progress, ended) = (tally.requested(), tally.in_progress(), tally.ended());
        let calls = requested + in_progress + ended;
        let all = calls.max(mentioned.expected_calls.map_or(0, i64::from));
        Self {
            expected_calls: mentioned.expected_calls,
            calls,
            requested,
            in_progress,
            ended,
            percent_complete: decimal::ratio(ended, all, 4).map(percent),
        }
    }
}

/// What a new campaign may say; a change takes the same fields but the id.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read_setting` is what reads it")]
pub struct CampaignForm {
    /// The vendor's id, as calls carry it.
    campaign_id: String,
    /// What people call it. Left out, it is the name that calls give.
    name: Option<String>,
    /// How many calls it will have.
    expected_calls: Option<u32>,
}

/// What a change of a campaign may say.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation")]
pub struct CampaignChange {
    /// `null` goes back to the name that calls give.
    name: Option<String>,
    /// `null` when nobody knows.
    expected_calls: Option<u32>,
}

fn view(mentioned: Mentioned) -> CampaignView {
    CampaignView {
        progress: Progress::of(&mentioned),
        ended: Numbers::of(&mentioned.tally),
        campaign_id: mentioned.id,
        name: mentioned.name,
        created_at: mentioned.created_at,
    }
}

/// Reads an id that a record can have.
pub fn read_id(form: &mut Form<'_>, name: &'static str) -> Option<Text> {
    let given = form.text(name);
    let id = form.required(name, given)?;
    if id.as_bytes().len() > LONGEST {
        form.wrong(name, "too_long", format!("Shorten it to {LONGEST} bytes."));
        return None;
    }
    Some(id)
}

/// Reads a name: left out it stays, `null` leaves it to what calls say.
pub fn read_name(form: &mut Form<'_>) -> Option<Option<Text>> {
    match form.text("name") {
        Given::Absent => None,
        Given::Null => Some(None),
        Given::Value(name) => {
            if name.as_bytes().len() > LONGEST {
                form.wrong("name", "too_long", format!("Shorten it to {LONGEST} bytes."));
            }
            Some(Some(name))
        }
    }
}

/// Reads name and number of calls: what is left out stays.
fn read_setting(form: &mut Form<'_>, id: Text) -> Setting {
    let name = read_name(form);
    let expected_calls = match form.whole("expected_calls", 0..=u32::MAX) {
        Given::Absent => None,
        Given::Null => Some(None),
        Given::Value(expected) => Some(Some(expected)),
    };
    Setting { id, name, expected_calls }
}

/// One of them.
///
/// # Errors
/// 404 when this account has none of that id.
pub async fn find(
    analytics: &dyn Analytics,
    account: AccountKey,
    what: Dimension,
    id: Text,
) -> Result<Mentioned, Problem> {
    let name = if what == Dimension::Agent { "agent" } else { "campaign" };
    let found = analytics.mentioned(account, what, id).await?;
    found.ok_or_else(|| Problem::not_found(name))
}

/// Make a campaign
///
/// A campaign that a call told of is there already: change it.
#[utoipa::path(
    post, path = "/v1/campaigns", tag = "Analytics", request_body = CampaignForm,
    responses((status = 201, description = "Made", body = CampaignView)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<(StatusCode, Answer<CampaignView>), Problem> {
    let mut form = Form::read(&body)?;
    let id = read_id(&mut form, "campaign_id");
    let setting = read_setting(&mut form, id.unwrap_or_default());
    form.finish()?;
    let made = make(&state, caller.account, Dimension::Campaign, setting).await?;
    Ok((StatusCode::CREATED, Answer(view(made))))
}

/// Makes a record.
///
/// # Errors
/// 409 when it is there.
pub async fn make(
    state: &ApiState,
    account: AccountKey,
    what: Dimension,
    setting: Setting,
) -> Result<Mentioned, Problem> {
    let id = setting.id.clone();
    if !state.store.make_mentioned(account, what, setting, state.clock.now()).await? {
        let detail = "It is there already. Read it, or change it with PATCH.";
        return Err(Problem::conflict("already_there", detail));
    }
    find(&*state.store, account, what, id).await
}

/// List campaigns
#[utoipa::path(
    get, path = "/v1/campaigns", tag = "Analytics",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "In the order of their ids", body = Listed<CampaignView>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<CampaignView>>, Problem> {
    let (found, next_cursor) =
        page(&state, &caller, Dimension::Campaign, List::Campaigns, query.as_deref()).await?;
    Ok(Answer(Listed { data: found.into_iter().map(view).collect(), next_cursor }))
}

/// A page of records, with the cursor of the next.
///
/// # Errors
/// 400 when the query is wrong.
pub async fn page(
    state: &ApiState,
    caller: &Caller,
    what: Dimension,
    list: List,
    query: Option<&str>,
) -> Result<(Vec<Mentioned>, Option<String>), Problem> {
    let (mut query, key) = (Query::read(query), state.store.link_key());
    let mut page = list.text_page(&mut query, key, caller.tag);
    query.finish()?;
    let limit = page.limit;
    page.limit += 1;
    let mut found = state.store.all_mentioned(caller.account, what, page).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more);
    let next = last.map(|last| list.seal_text(key, caller.tag, &last.id));
    Ok((found, next))
}

/// Read a campaign
#[utoipa::path(
    get, path = "/v1/campaigns/{id}", tag = "Analytics",
    params(("id" = String, Path, description = "The vendor's id")),
    responses((status = 200, description = "The campaign", body = CampaignView)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<CampaignView>, Problem> {
    Ok(Answer(view(find(&*state.store, caller.account, Dimension::Campaign, Text::from(id)).await?)))
}

/// Change a campaign
#[utoipa::path(
    patch, path = "/v1/campaigns/{id}", tag = "Analytics",
    params(("id" = String, Path, description = "The vendor's id")), request_body = CampaignChange,
    responses((status = 200, description = "The campaign as it is now", body = CampaignView)),
)]
pub async fn change(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<CampaignView>, Problem> {
    let known = find(&*state.store, caller.account, Dimension::Campaign, Text::from(id)).await?;
    let mut form = Form::read(&body)?;
    let setting = read_setting(&mut form, known.id.clone());
    form.finish()?;
    state.store.put_mentioned(caller.account, Dimension::Campaign, setting, state.clock.now()).await?;
    Ok(Answer(view(find(&*state.store, caller.account, Dimension::Campaign, known.id).await?)))
}
