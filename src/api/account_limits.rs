//! `PATCH /v1/accounts/{id}`: how many endpoints, sources and keys an account may have. For admin keys alone: a tenant does
//! not raise its own limits. Does not depend on how they are kept to: that is the store's.

use axum::Json as Answer;
use axum::extract::State;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::changes;
use super::form::Form;
use super::keys::{AccountView, named_account};
use super::problem::Problem;
use super::state::ApiState;
use crate::model::account::Limits;
use crate::store::AccountConfig;

/// The highest limit that can be set. Each endpoint costs a little of every event.
const MOST: u32 = 1_000_000;

/// What an account may have; `null` sets a limit back to its default.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `change` reads it")]
pub struct AccountLimits {
    /// Endpoints, beside those that batches bring along. Default 1000.
    endpoint_limit: Option<u32>,
    /// Sources. Default 1000.
    source_limit: Option<u32>,
    /// API keys that are not revoked. Default 1000.
    key_limit: Option<u32>,
}

/// Change an account's limits
///
/// For admin keys only. What an account has already stays, also if that is more than it may have from now on.
#[utoipa::path(
    patch, path = "/v1/accounts/{id}", tag = "Accounts and keys", params(("id" = String, Path)),
    request_body = AccountLimits,
    responses((status = 200, description = "The account as it is now", body = AccountView)),
)]
pub async fn change(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<AccountView>, Problem> {
    let missing = || Problem::not_found("account");
    let (account, _) = named_account(&*state.store, &caller, &id).ok_or_else(missing)?;
    let over = |config: &AccountConfig| {
        let (mut form, known) = (Form::read(&body)?, config.account.limits);
        let limits = Limits {
            endpoints: form.whole("endpoint_limit", 0..=MOST).over(known.endpoints),
            sources: form.whole("source_limit", 0..=MOST).over(known.sources),
            keys: form.whole("key_limit", 0..=MOST).over(known.keys),
        };
        form.finish()?;
        Ok(((account, limits), ()))
    };
    let (changed, ()) = changes::change(&state, account, over).await?;
    Ok(Answer(AccountView::of(&changed, None)))
}
