//! `/v1/accounts` and `/v1/keys`: tenants, and the keys that open them with their rights and ends. Does not know how a key
//! is kept, nor what each right opens.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{Caller, new_api_key};
use super::body::{Id, Json};
use super::days::Days;
use super::form::{Form, Given};
use super::minutes::Minutes;
use super::problem::Problem;
use super::shown_once::{Revealed, once};
use super::state::ApiState;
use crate::model::account::{Account, Limited};
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, ApiKey, Right, Rights, Secret, Time};
use crate::store::vault::hash_api_key;
use crate::store::{AccountConfigs, NewKey, Revoked};

/// Rights that a request may name: each once, and a repeat or two.
const MOST_NAMED: usize = 2 * Right::ALL.len();
/// How far ahead a key may end: whoever wants more leaves it out.
const LONGEST_LIFE: Duration = Duration::from_secs(36_500 * 24 * 3600);

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
    /// For how many days a repeat is known as a duplicate after the call that it belongs to was removed.
    #[schema(value_type = f64)]
    repeat_memory_days: Days,
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
    #[schema(value_type = Option<String>)]
    key: Option<Revealed>,
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
    /// Whether `admin` is one of its rights.
    admin: bool,
    /// What it may do: `read`, `ingest`, `write`, `erase`, `admin`.
    rights: Vec<&'static str>,
    /// From when on it opens nothing; `null` is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    /// When it was last used, to about a minute; `null` is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Time>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// The key, shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<Revealed>,
}

/// What a new key may say.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `create` reads it")]
pub struct KeyForm {
    /// What people call it.
    name: String,
    /// What it may do: `read` sees everything but credentials, `ingest` brings events by the key, `write` changes, sends and
    /// makes, `erase` destroys what is recorded, `admin` makes accounts and acts on any of them. Left out, all that the key
    /// which asks may do but `admin`.
    rights: Option<Vec<String>>,
    /// Whether `admin` is one of the rights, with all others where `rights` is left out. Only an admin key of account
    /// `default` may say so.
    admin: Option<bool>,
    /// From when on it opens nothing. `null` is never; left out, it is when the key which asks ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<()>,
    /// The same in days from now on; fractions are allowed.
    expires_in_days: Option<f64>,
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
    pub fn of(account: &Account, key: Option<Revealed>) -> Self {
        Self {
            id: id::format(Kind::Account, account.tag, account.key.0),
            name: account.name.clone(),
            created_at: account.created_at,
            retention_days: account.retention.map(Days),
            transcript_retention_days: account.transcript_retention.map(Days),
            repeat_memory_days: Days(account.repeat_memory),
            endpoint_limit: account.limits.of(Limited::Endpoints),
            source_limit: account.limits.of(Limited::Sources),
            key_limit: account.limits.of(Limited::Keys),
            call_minutes: None,
            key,
        }
    }

    /// The same with what is left of call minutes. Calls may use up more than there were; that is shown as none.
    pub fn with_call_minutes(account: &Account, millis: Option<i64>) -> Self {
        let left = |millis: i64| Minutes(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
        Self { call_minutes: Some(millis.map(left)), ..Self::of(account, None) }
    }
}

impl KeyView {
    fn of(key: ApiKey, tag: Tag, shown: Option<Revealed>) -> Self {
        Self {
            id: id::format(Kind::ApiKey, tag, key.number),
            account_id: id::format(Kind::Account, tag, key.account.0),
            name: key.name,
            admin: key.rights.has(Right::Admin),
            rights: key.rights.words(),
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
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
    rights: Rights,
    expires_at: Option<Time>,
) -> Result<(ApiKey, Secret), Problem> {
    let key = new_api_key();
    let (hash, created_at) = (hash_api_key(&key), state.clock.now());
    let new = NewKey { account, name, rights, expires_at, hash, created_at };
    Ok((state.store.create_key(new).await?, Secret::new(key)))
}

/// Make an account
///
/// With its first API key, which has every right but `admin` and does not expire.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "Accounts and keys", request_body = AccountForm,
    responses((status = 201, description = "Made; the key is shown here and never again", body = AccountView)),
)]
pub async fn create_account(State(state): State<ApiState>, Json(body): Json) -> Result<Response, Problem> {
    let mut form = Form::read(&body)?;
    let name = form.string("name");
    let name = form.required("name", name);
    form.finish()?;
    let made = state.store.create_account(name.unwrap_or_default(), state.clock.now()).await?;
    let account = made.ok_or_else(|| {
        Problem::conflict("name_taken", "There is an account of this name. Choose another name.")
    })?;
    let (_, key) = make(&state, account.key, "first key".to_owned(), Rights::PLAIN, None).await?;
    Ok(once(StatusCode::CREATED, |reveal| AccountView::of(&account, reveal.secret(&key))))
}

/// List accounts
#[utoipa::path(
    get, path = "/v1/accounts", tag = "Accounts and keys",
    responses((status = 200, description = "All of them", body = Accounts)),
)]
pub async fn accounts(State(state): State<ApiState>) -> Answer<Accounts> {
    let all = state.store.accounts();
    Answer(Accounts { data: all.iter().map(|config| AccountView::of(&config.account, None)).collect() })
}

/// Make an API key
///
/// A key gives no more than it has: the new one has at most its rights and ends no later. What is left out is taken from the
/// key that asks: all of its rights but `admin`, and its end.
#[utoipa::path(
    post, path = "/v1/keys", tag = "Accounts and keys", request_body = KeyForm,
    responses(
        (status = 201, description = "Made; the key is shown here and never again", body = KeyView),
        (status = 409, description = "`too_many_keys`: revoke some first"),
    ),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<Response, Problem> {
    let mut form = Form::read(&body)?;
    let name = form.string("name");
    let name = form.required("name", name);
    let (rights, said_by) = read_rights(&mut form, caller.rights);
    let expires_at = read_expiry(&mut form, caller.expires_at, state.clock.now());
    let mut account = (caller.account, caller.tag);
    if let Given::Value(id) = form.string("account_id") {
        match named_account(&*state.store, &caller, &id) {
            Some(named) => account = named,
            None => form.wrong("account_id", "unknown_account", "Give the id of an account: acc_..."),
        }
    }
    let (account, tag) = account;
    if rights.has(Right::Admin) && account != AccountKey::DEFAULT {
        form.wrong(said_by, "not_allowed", "Only keys of the account \"default\" can be admin keys.");
    }
    form.finish()?;
    let (made, key) = make(&state, account, name.unwrap_or_default(), rights, expires_at).await?;
    Ok(once(StatusCode::CREATED, |reveal| KeyView::of(made.clone(), tag, reveal.secret(&key))))
}

/// Reads `rights` and `admin`: none but those of the key that asks. Says also which of both fields gave them.
fn read_rights(form: &mut Form<'_>, own: Rights) -> (Rights, &'static str) {
    let (list, admin) = (form.list("rights", MOST_NAMED), form.boolean("admin").value());
    let Given::Value(list) = list else {
        let rights = own.and(Rights::PLAIN);
        if admin != Some(true) {
            return (rights, "rights");
        }
        if !own.has(Right::Admin) {
            form.wrong("admin", "not_allowed", "Only an admin key may make another one.");
            return (rights, "rights");
        }
        return (rights.with(Right::Admin), "admin");
    };
    let mut rights = Rights::default();
    if list.is_empty() {
        form.wrong("rights", "empty", "Name at least one right, or leave it out.");
    }
    for (at, element) in list.iter().enumerate() {
        let field = format!("rights[{at}]");
        let word: Option<String> = serde_json::from_str(element.get()).ok();
        match word.and_then(|word| Right::parse(&word)) {
            None => form.wrong(field, "unknown_value", format!("Give one of: {}.", Rights::ALL)),
            Some(right) if !own.has(right) => {
                let detail =
                    format!("The key that asks does not have it, so it cannot give it. It has: {own}.");
                form.wrong(field, "not_allowed", detail);
            }
            Some(right) => rights = rights.with(right),
        }
    }
    if admin.is_some_and(|admin| admin != rights.has(Right::Admin)) {
        form.wrong("admin", "contradiction", "It says something else than \"rights\". Leave it out.");
    }
    (rights, "rights")
}

/// Reads `expires_at` and `expires_in_days`: no later than the end of the key that asks.
fn read_expiry(form: &mut Form<'_>, own: Option<Time>, now: Time) -> Option<Time> {
    let (at, days) = (form.string("expires_at"), form.number("expires_in_days"));
    if matches!((&at, &days), (Given::Value(_), Given::Value(_))) {
        form.wrong("expires_in_days", "contradiction", "Give this or \"expires_at\", not both.");
        return None;
    }
    let latest = now.after(LONGEST_LIFE);
    let (field, end) = match (at, days) {
        (Given::Value(text), _) => {
            let end = Time::parse(&text).filter(|end| *end > now && *end <= latest);
            if end.is_none() {
                let detail = "Give a time to come, within a hundred years, as 2027-01-31T09:00:00Z.";
                form.wrong("expires_at", "out_of_range", detail);
            }
            ("expires_at", end)
        }
        (_, Given::Value(days)) => {
            let end = Days::read(days).map(|life| now.after(life));
            if end.is_none() {
                form.wrong(
                    "expires_in_days",
                    "out_of_range",
                    format!("Give a number of days above 0, at most {}.", Days::most()),
                );
            }
            ("expires_in_days", end)
        }
        // `null` asks for a key that does not expire.
        (Given::Null, _) => ("expires_at", None),
        (_, Given::Null) => ("expires_in_days", None),
        (Given::Absent, Given::Absent) => return own,
    };
    if let Some(own) = own
        && form.is_fine()
        && end.is_none_or(|end| end > own)
    {
        let detail = format!("The key that asks expires at {own}; a key that it makes expires no later.");
        form.wrong(field, "not_allowed", detail);
    }
    end
}

/// The account of an id, as far as this caller may name it.
pub fn named_account(configs: &dyn AccountConfigs, caller: &Caller, id: &str) -> Option<(AccountKey, Tag)> {
    let (tag, number) = id::parse(Kind::Account, id)?;
    if tag == caller.tag || caller.may(Right::Admin) {
        let account = &configs.config_by_tag(tag)?.account;
        return (account.key.0 == number).then_some((account.key, tag));
    }
    None
}

/// List API keys
#[utoipa::path(
    get, path = "/v1/keys", tag = "Accounts and keys",
    responses((status = 200, description = "Those of this account that are not revoked, expired ones among them", body = Keys)),
)]
pub async fn list(State(state): State<ApiState>, caller: Caller) -> Result<Answer<Keys>, Problem> {
    let keys = state.store.keys(caller.account).await?;
    Ok(Answer(Keys { data: keys.into_iter().map(|key| KeyView::of(key, caller.tag, None)).collect() }))
}

/// Revoke an API key
///
/// From now on it opens nothing. A key revokes only keys that have no right which it lacks.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "Accounts and keys", params(("id" = String, Path)),
    responses(
        (status = 204, description = "Revoked"),
        (status = 409, description = "`last_admin_key`: the last key with every right that does not expire"),
    ),
)]
pub async fn revoke(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let missing = || Problem::not_found("API key");
    let number = caller.number(Kind::ApiKey, &id).ok_or_else(missing)?;
    let keys = state.store.keys(caller.account).await?;
    let key = keys.iter().find(|key| key.number == number).ok_or_else(missing)?;
    let more = key.rights.without(caller.rights);
    if !more.is_empty() {
        let detail = format!("That key has rights which this one lacks: {more}. Use a key that has them.");
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let revoked = state.store.revoke_key(caller.account, number, state.clock.now()).await?;
    state.keys.forget();
    match revoked {
        Revoked::Done => Ok(StatusCode::NO_CONTENT),
        Revoked::Missing => Err(missing()),
        Revoked::Last => {
            let detail = "This is the last admin key with every right that does not expire: without it nobody could make \
                          accounts and keys for them in the end. Make another one first.";
            Err(Problem::conflict("last_admin_key", detail))
        }
    }
}
