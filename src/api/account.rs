//! `/v1/account`: the account of the caller's key, for how long it keeps what it recorded, and its call minutes.
//! Refuses to know what goes when: that is the store's.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::Json;
use super::days::{Days, SECONDS_OF_A_DAY};
use super::form::{Form, Given};
use super::keys::AccountView;
use super::problem::Problem;
use super::state::ApiState;
use crate::model::Right;
use crate::model::account::{MOST_REPEAT_MEMORY, REPEAT_MEMORY};
use crate::model::bounds::MOST_CREDIT;
use crate::model::time::duration;

/// What can be changed about an account.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `change` reads it")]
pub struct AccountChange {
    /// For how many days what is recorded is kept; fractions are allowed, `null` is for ever. Older events go with their
    /// deliveries, calls with their last event, and so do quarantined bodies.
    retention_days: Option<f64>,
    /// For how many days what was said in calls is kept, where that is shorter; `null` is as long as the rest. Events and
    /// records keep everything else; links to an older transcript answer 410.
    transcript_retention_days: Option<f64>,
    /// For how many days the repeat of a body is known as a duplicate after the call that it belongs to was removed, by its
    /// age or because its person was erased: 0 to 366, fractions are allowed, `null` is 30. With 0 a repeat is a new call.
    repeat_memory_days: Option<f64>,
    /// How many call minutes there are from now on, 0 to a billion; `null` is unlimited. Calls use them up; a batch for
    /// which none are left fails.
    call_minutes: Option<f64>,
}

/// Read the account
///
/// The one that the key opens.
#[utoipa::path(
    get, path = "/v1/account", tag = "Accounts and keys",
    responses((status = 200, description = "The account", body = AccountView)),
)]
pub async fn read(State(state): State<ApiState>, caller: Caller) -> Result<Answer<AccountView>, Problem> {
    let left = state.store.credit(caller.account).await?;
    Ok(Answer(AccountView::with_call_minutes(&caller.config.account, left)))
}

/// Change the account
///
/// A shorter `retention_days` removes what is older from now on; that cannot be undone, and to shorten either age needs the
/// right `erase` too. What is still pending then is cancelled. The sums in `/v1/reconciliation` go on counting what is gone.
#[utoipa::path(
    patch, path = "/v1/account", tag = "Accounts and keys", request_body = AccountChange,
    responses((status = 200, description = "Changed", body = AccountView)),
)]
pub async fn change(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<Answer<AccountView>, Problem> {
    let mut form = Form::read(&body)?;
    let wanted = read_days(&mut form, "retention_days");
    let wanted_of_transcripts = read_days(&mut form, "transcript_retention_days");
    let memory = read_memory(&mut form);
    let minutes = read_minutes(&mut form);
    form.finish()?;
    let known = &caller.config.account;
    if is_shorter(wanted, known.retention) || is_shorter(wanted_of_transcripts, known.transcript_retention) {
        caller.require(Right::Erase)?;
    }
    let (now, missing) = (state.clock.now(), || Problem::not_found("account"));
    if let Some(minutes) = minutes {
        state.store.set_credit(caller.account, minutes).await?;
    }
    if let Some(retention) = wanted_of_transcripts {
        let changed = state.store.set_transcript_retention(caller.account, retention, now).await?;
        changed.ok_or_else(missing)?;
    }
    if let Some(length) = memory {
        state.store.set_repeat_memory(caller.account, length, now).await?.ok_or_else(missing)?;
    }
    if let Some(retention) = wanted {
        state.store.set_retention(caller.account, retention, now).await?.ok_or_else(missing)?;
    }
    let config = state.store.config(caller.account).ok_or_else(missing)?;
    read(State(state), Caller { config, ..caller }).await
}

/// Whether less is kept after a change than before; `None` in it is for ever.
fn is_shorter(wanted: Option<Option<Duration>>, known: Option<Duration>) -> bool {
    wanted.flatten().is_some_and(|wanted| known.is_none_or(|known| wanted < known))
}

/// Call minutes, in milliseconds; nothing when they are left out, `None` in it for `null`.
fn read_minutes(form: &mut Form<'_>) -> Option<Option<i64>> {
    let most = MOST_CREDIT.as_secs_f64() / 60.0;
    match form.number("call_minutes") {
        Given::Absent => None,
        Given::Null => Some(None),
        Given::Value(minutes) if (0.0..=most).contains(&minutes) => {
            Some(i64::try_from(duration(minutes * 60.0).as_millis()).ok())
        }
        Given::Value(_) => {
            let remedy = format!("Give a number of minutes from 0 to {most}, or null for no limit.");
            form.wrong("call_minutes", "out_of_range", remedy);
            None
        }
    }
}

/// How long repeats are known; nothing when it is left out, the default for `null`.
fn read_memory(form: &mut Form<'_>) -> Option<Duration> {
    match form.number("repeat_memory_days") {
        Given::Absent => None,
        Given::Null => Some(REPEAT_MEMORY),
        Given::Value(0.0) => Some(Duration::ZERO),
        Given::Value(days) => {
            let length = Days::read(days).filter(|&length| length <= MOST_REPEAT_MEMORY);
            if length.is_none() {
                let most = MOST_REPEAT_MEMORY.as_secs_f64() / SECONDS_OF_A_DAY;
                let remedy = format!("Give a number of days from 0 to {most}, or null for the default.");
                form.wrong("repeat_memory_days", "out_of_range", remedy);
            }
            length
        }
    }
}

/// A length of time in days; nothing when it is left out, `None` in it for `null`.
fn read_days(form: &mut Form<'_>, name: &'static str) -> Option<Option<Duration>> {
    match form.number(name) {
        Given::Absent => None,
        Given::Null => Some(None),
        Given::Value(days) => {
            let length = Days::read(days);
            if length.is_none() {
                let remedy = format!(
                    "Give a number of days above 0, at most {}, or null to keep everything.",
                    Days::most()
                );
                form.wrong(name, "out_of_range", remedy);
            }
            Some(length)
        }
    }
}
