//! `/v1/sources`: the doors of an account. Refuses to know how a door reads what comes in.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::changes;
use super::credential::{self, Made, Shown, Side};
use super::cursor::{List, Listed};
use super::form::{Form, Given};
use super::minutes::{self, Minutes};
use super::problem::Problem;
use super::query::Query;
use super::redact::HIDDEN;
use super::shown_once::{Reveal, once};
use super::state::ApiState;
use crate::dialect;
use crate::model::bounds::LONGEST_DEADLINE;
use crate::model::id::Kind;
use crate::model::{DialectName, Right, Source, Time};
use crate::store::{AccountConfig, AccountConfigs};

/// A source.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source)]
pub struct SourceView {
    id: String,
    name: String,
    /// `voicegenie`, `cllr`, `dialgen`, `aloro`, `air` or `standard`.
    dialect: &'static str,
    /// Where events go. That of an unsigned source holds a token: keep it to yourself. A key without the right `write` sees
    /// `***` in its place.
    url: String,
    /// Whether requests have to be signed or carry a token.
    has_secret: bool,
    /// After how many minutes without its end a call is given up as lost; `null` is never.
    #[schema(value_type = Option<f64>)]
    lost_after_minutes: Option<Minutes>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    #[serde(flatten)]
    shown: Shown,
}

/// What a new source may say; a change takes the same fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read` is what reads it")]
pub struct SourceForm {
    /// What people call it.
    name: String,
    /// Which system speaks: `voicegenie`, `cllr`, `dialgen`, `aloro`, `air` or `standard`.
    dialect: String,
    /// The signing secret. Left out, one is made and shown once; `null`, the source is unsigned and its URL holds a
    /// token instead.
    secret: Option<String>,
    /// The token of `Authorization: Bearer`, for `air`; at least 16 characters. Left out, one is made.
    bearer_token: Option<String>,
    /// After how many minutes without its end a call is given up as `lost`; above 0, at most 43,200. Left out, or
    /// `null`: never. A real end that comes later corrects it.
    lost_after_minutes: Option<f64>,
}

impl SourceView {
    /// As it is shown: with what was made for the caller just now.
    pub fn of(source: &Source, url: String, shown: Shown) -> Self {
        Self {
            id: source.id.clone(),
            name: source.name.clone(),
            dialect: source.dialect.as_str(),
            url,
            has_secret: !credential::is_empty(&source.credential),
            lost_after_minutes: source.lost_after.map(Minutes),
            created_at: source.created_at,
            shown,
        }
    }
}

/// The URL of a source, as an answer that made it shows it.
pub fn url(state: &ApiState, source: &Source, reveal: &Reveal) -> String {
    let may_show = source.url_token.is_none() || reveal.may_show();
    url_of(state, source, may_show)
}

fn url_of(state: &ApiState, source: &Source, may_show: bool) -> String {
    let public_url = &state.settings.public_url;
    match source.url_token {
        Some(_) if !may_show => format!("{public_url}/in/{}.{HIDDEN}", source.id),
        _ => format!("{public_url}{}", source.path()),
    }
}

/// A source as it is there. Its token brings events, so it is shown to those who could set it.
fn shown(state: &ApiState, caller: &Caller, source: &Source) -> SourceView {
    SourceView::of(source, url_of(state, source, caller.may(Right::Write)), Shown::default())
}

/// Reads `dialect`.
pub fn read_dialect(form: &mut Form<'_>) -> Given<DialectName> {
    match form.string("dialect") {
        Given::Value(name) => match DialectName::parse(&name) {
            Some(dialect) => Given::Value(dialect),
            None => {
                let names = DialectName::ALL.map(DialectName::as_str).join(", ");
                form.wrong("dialect", "unknown_dialect", format!("Give one of: {names}."));
                Given::Absent
            }
        },
        Given::Null => Given::Null,
        Given::Absent => Given::Absent,
    }
}

/// Reads a body into a source: a new one starts from nothing, a change from what is there.
fn read_form(
    mut form: Form<'_>,
    current: Option<&Source>,
    caller: &Caller,
    now: Time,
) -> Result<(Source, Made), Problem> {
    let (name, dialect) = (form.string("name"), read_dialect(&mut form));
    let name = match (name, current) {
        (Given::Absent, Some(current)) => Some(current.name.clone()),
        (given, _) => form.required("name", given),
    };
    let dialect = match (dialect, current) {
        (Given::Absent, Some(current)) => Some(current.dialect),
        (given, _) => form.required("dialect", given),
    };
    let wanted = credential::read(&mut form, dialect, Side::Source);
    let lost_after = minutes::read(&mut form, "lost_after_minutes", LONGEST_DEADLINE)
        .over(current.and_then(|current| current.lost_after));
    form.finish()?;
    let (Some(name), Some(dialect)) = (name, dialect) else { return Err(Problem::internal()) };

    let proof = dialect::get(dialect).proof();
    let fits = |current: &&Source| dialect::get(current.dialect).proof() == proof;
    let kept = current.filter(fits).map(|current| current.credential.clone());
    let (credential, made) = wanted.make(dialect, kept);
    let known = current.and_then(|current| current.url_token.clone());
    // A token stays once it is there: the URL that somebody pasted somewhere goes on being the URL.
    let url_token = known.or_else(|| credential::is_empty(&credential).then(credential::url_token));
    let source = Source {
        account: caller.account,
        number: current.map_or(0, |current| current.number),
        id: current.map(|current| current.id.clone()).unwrap_or_default(),
        name,
        dialect,
        credential,
        url_token,
        lost_after,
        created_at: current.map_or(now, |current| current.created_at),
    };
    Ok((source, made))
}

/// The source of an id, as it is now.
///
/// # Errors
/// 404 when this account has none of that id.
pub fn find(configs: &dyn AccountConfigs, caller: &Caller, id: &str) -> Result<Arc<Source>, Problem> {
    let config = configs.config(caller.account).ok_or_else(|| Problem::not_found("source"))?;
    find_in(&config, caller, id)
}

fn find_in(config: &AccountConfig, caller: &Caller, id: &str) -> Result<Arc<Source>, Problem> {
    let number = caller.number(Kind::Source, id);
    number.and_then(|number| config.source(number)).cloned().ok_or_else(|| Problem::not_found("source"))
}

/// Changes the source of an id. Gives it with what else `make` gave.
///
/// # Errors
/// 404 when this account has none of that id; else as [`changes::change`].
pub async fn change_one<T: Send>(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    mut make: impl FnMut(&Source) -> Result<(Source, T), Problem> + Send,
) -> Result<(Arc<Source>, T), Problem> {
    changes::change(state, caller.account, |config| make(&*find_in(config, caller, id)?)).await
}

/// Make a source
#[utoipa::path(
    post, path = "/v1/sources", tag = "Sources", request_body = SourceForm,
    responses((status = 201, description = "Made; a generated credential is shown here and never again", body = SourceView)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<Response, Problem> {
    let (source, made) = read_form(Form::read(&body)?, None, &caller, state.clock.now())?;
    let source = state.store.put_source(source, None).await?.ok_or_else(Problem::internal)?;
    Ok(once(StatusCode::CREATED, |reveal| {
        SourceView::of(&source, url(&state, &source, reveal), made.shown(reveal))
    }))
}

/// List sources
#[utoipa::path(
    get, path = "/v1/sources", tag = "Sources",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "Oldest first", body = Listed<SourceView>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<SourceView>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Sources.page(&mut query, key, caller.tag);
    query.finish()?;
    let after = |source: &&Arc<Source>| page.after.is_none_or(|after| source.number > after);
    let found = caller.config.sources.iter().filter(after).take(page.limit).collect();
    let (found, next_cursor) = List::Sources.cut(found, page, key, caller.tag, |source| source.number);
    let view = |source: &Arc<Source>| shown(&state, &caller, source);
    Ok(Answer(Listed { data: found.into_iter().map(view).collect(), next_cursor }))
}

/// Read a source
#[utoipa::path(
    get, path = "/v1/sources/{id}", tag = "Sources", params(("id" = String, Path)),
    responses((status = 200, description = "The source", body = SourceView)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<SourceView>, Problem> {
    let source = find(&*state.store, &caller, &id)?;
    Ok(Answer(shown(&state, &caller, &source)))
}

/// Change a source
///
/// Fields that are left out stay. A `secret` or `bearer_token` counts at once; to let an old and a new one overlap,
/// rotate it instead.
#[utoipa::path(
    patch, path = "/v1/sources/{id}", tag = "Sources", params(("id" = String, Path)),
    request_body = ref("#/components/schemas/SourceChange"),
    responses((status = 200, description = "The source as it is now", body = SourceView)),
)]
pub async fn change(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Response, Problem> {
    let now = state.clock.now();
    let change = |current: &Source| read_form(Form::read(&body)?, Some(current), &caller, now);
    let (changed, made) = change_one(&state, &caller, &id, change).await?;
    Ok(once(StatusCode::OK, |reveal| {
        SourceView::of(&changed, url(&state, &changed, reveal), made.shown(reveal))
    }))
}

/// Delete a source
///
/// Its door answers 401 from now on. What it brought stays.
#[utoipa::path(
    delete, path = "/v1/sources/{id}", tag = "Sources", params(("id" = String, Path)),
    responses((status = 204, description = "Deleted")),
)]
pub async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let number = find(&*state.store, &caller, &id)?.number;
    match state.store.delete_source(caller.account, number, state.clock.now()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("source")),
    }
}
