//! `/v1/accounts` and `/v1/keys`: tenants, and the keys that open them. Refuses to know how a key is kept.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::account::Days;
use super::auth::{self, Caller, new_api_key, require_admin};
use super::body::{Id, Json};
use super::form::{Form, Given};
use super::minutes::Minutes;
use super::problem::Problem;
use crate::model::account::{Account, Limited};
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, ApiKey, Time};
use crate::store::vault::hash_api_key;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountView {
    id: String,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// For how many days it keeps what it recorded; `null` is for ever.
    #[schema(value_type = Option<f64>)]
    retention_days: Option<Days>,
    /// For how many days it keeps what was said in calls; `null` is as long as the rest.
    #[schema(value_type = Option<f64>)]
    transcript_retention_days: Option<Days>,
    /// How many endpoints it may have, beside those that batches bring along.
    endpoint_limit: u32,
    /// How many sources it may have.
    source_limit: u32,
    /// How many API keys it may have.
    key_limit: u32,
    /// The call minutes that are left; `null` is unlimited. Shown by `/v1/account` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    call_minutes: Option<Option<Minutes>>,
    /// Its first API key, shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// What a new account says.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `create_account` reads it")]
pub struct AccountForm {
    /// Unique.
    name: String,
}

/// An API key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyView {
    id: String,
    account_id: String,
    name: String,
    /// Whether it may make accounts and keys for them.
    admin: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// The key, shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// What a new key may say.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `create` reads it")]
pub struct KeyForm {
    /// What people call it.
    name: String,
    /// Whether it may make accounts and keys for them. Only an admin key of account `default` may say so.
    admin: Option<bool>,
    /// Whose key it is; only an admin key may name another account than its own.
    account_id: Option<String>,
}

/// The keys of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    data: Vec<KeyView>,
}

/// All accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accounts {
    data: Vec<AccountView>,
}

impl AccountView {
    /// As it is shown: with its first key when that was made just now.
    pub fn of(account: &Account, key: Option<String>) -> Self {
        Self {
            id: id::format(Kind::Account, account.tag, account.key.0),
            name: account.name.clone(),
            created_at: account.created_at,
            retention_days: account.retention.map(Days),
            transcript_retention_days: account.transcript_retention.map(Days),
            endpoint_limit: account.limits.of(Limited::Endpoints),
            source_limit: account.limits.of(Limited::Sources),
            key_limit: account.limits.of(Limited::Keys),
            call_minutes: None,
            key,
        }
    }

    /// The same with what is left of call minutes. Calls may use up more than there were; that is shown as none.
    pub fn with_call_minutes(self, millis: Option<i64>) -> Self {
        let left = |millis: i64| Minutes(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
        Self { call_minutes: Some(millis.map(left)), ..self }
    }
}

impl KeyView {
    fn of(key: ApiKey, tag: Tag, shown: Option<String>) -> Self {
        Self {
            id: id::format(Kind::ApiKey, tag, key.number),
            account_id: id::format(Kind::Account, tag, key.account.0),
            name: key.name,
            admin: key.admin,
            created_at: key.created_at,
            key: shown,
        }
    }
}

/// Makes a key; what is kept of it is only a hash.
async fn make(
    state: &ApiState,
    account: AccountKey,
    name: String,
    admin: bool,
) -> Result<(ApiKey, String), Problem> {
    let key = new_api_key();
    let now = state.clock.now();
    let made = state.store.create_key(account, name, admin, hash_api_key(&key), now).await?;
    Ok((made, key))
}

/// Make an account
///
/// With its first API key. For admin keys only.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "Accounts and keys", request_body = AccountForm,
    responses((status = 201, description = "Made; the key is shown here and never again", body = AccountView)),
)]
pub async fn create_account(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<(StatusCode, Answer<AccountView>), Problem> {
    require_admin(&caller)?;
    let mut form = Form::read(&body)?;
    let name = form.string("name");
    let name = form.required("name", name);
    form.finish()?;
    let made = state.store.create_account(name.unwrap_or_default(), state.clock.now()).await?;
    let account = made.ok_or_else(|| {
        Problem::conflict("name_taken", "There is an account of this name. Choose another name.")
    })?;
    let (_, key) = make(&state, account.key, "first key".to_owned(), false).await?;
    Ok((StatusCode::CREATED, Answer(AccountView::of(&account, Some(key)))))
}

/// List accounts
///
/// For admin keys only.
#[utoipa::path(
    get, path = "/v1/accounts", tag = "Accounts and keys",
    responses((status = 200, description = "All of them", body = Accounts)),
)]
pub async fn accounts(State(state): State<ApiState>, caller: Caller) -> Result<Answer<Accounts>, Problem> {
    require_admin(&caller)?;
    let all = state.store.accounts();
    Ok(Answer(Accounts { data: all.iter().map(|config| AccountView::of(&config.account, None)).collect() }))
}

/// Make an API key
#[utoipa::path(
    post, path = "/v1/keys", tag = "Accounts and keys", request_body = KeyForm,
    responses((status = 201, description = "Made; the key is shown here and never again", body = KeyView)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<(StatusCode, Answer<KeyView>), Problem> {
    let mut form = Form::read(&body)?;
    let name = form.string("name");
    let name = form.required("name", name);
    let admin = form.boolean("admin").value().unwrap_or(false);
    let mut account = (caller.account, caller.tag);
    if let Given::Value(id) = form.string("account_id") {
        match named_account(&state, &caller, &id) {
            Some(named) => account = named,
            None => form.wrong("account_id", "unknown_account", "Give the id of an account: acc_..."),
        }
    }
    let (account, tag) = account;
    if admin && account != AccountKey::DEFAULT {
        form.wrong("admin", "not_allowed", "Only keys of the account \"default\" can be admin keys.");
    } else if admin && !caller.admin {
        form.wrong("admin", "not_allowed", "Only an admin key may make another one.");
    }
    form.finish()?;
    let (made, key) = make(&state, account, name.unwrap_or_default(), admin).await?;
    Ok((StatusCode::CREATED, Answer(KeyView::of(made, tag, Some(key)))))
}

/// The account of an id, as far as this caller may name it.
pub fn named_account(state: &ApiState, caller: &Caller, id: &str) -> Option<(AccountKey, Tag)> {
    let (tag, number) = id::parse(Kind::Account, id)?;
    if tag == caller.tag || caller.admin {
        let account = &state.store.config_by_tag(tag)?.account;
        return (account.key.0 == number).then_some((account.key, tag));
    }
    None
}

/// List API keys
#[utoipa::path(
    get, path = "/v1/keys", tag = "Accounts and keys",
    responses((status = 200, description = "Those of this account that are not revoked", body = Keys)),
)]
pub async fn list(State(state): State<ApiState>, caller: Caller) -> Result<Answer<Keys>, Problem> {
    let keys = state.store.keys(caller.account).await?;
    Ok(Answer(Keys { data: keys.into_iter().map(|key| KeyView::of(key, caller.tag, None)).collect() }))
}

/// Revoke an API key
///
/// From now on it opens nothing.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "Accounts and keys", params(("id" = String, Path)),
    responses((status = 204, description = "Revoked"), (status = 409, description = "It is the last admin key")),
)]
pub async fn revoke(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let missing = || Problem::not_found("API key");
    let number = caller.number(Kind::ApiKey, &id).ok_or_else(missing)?;
    let _changing = state.changing.lock().await;
    let keys = state.store.keys(caller.account).await?;
    let key = keys.iter().find(|key| key.number == number).ok_or_else(missing)?;
    if key.admin && !caller.admin {
        let detail = "Only an admin key may revoke an admin key.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    if key.admin && keys.iter().filter(|key| key.admin).count() == 1 {
        let detail =
            "This is the last admin key: without it nobody could make accounts. Make another one first.";
        return Err(Problem::conflict("last_admin_key", detail));
    }
    let is_revoked = state.store.revoke_key(caller.account, number, state.clock.now()).await?;
    auth::Remembered::forget(&state.keys);
    if is_revoked { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}
