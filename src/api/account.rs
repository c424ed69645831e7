//! `/v1/account`: the account of the caller's key, for how long it keeps what it recorded, and its call minutes.
//! Refuses to know what goes when: that is the store's.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::Caller;
use super::body::Json;
use super::form::{Form, Given};
use super::keys::AccountView;
use super::problem::Problem;
use crate::model::Right;
use crate::model::account::{MOST_REPEAT_MEMORY, REPEAT_MEMORY};
use crate::model::bounds::{LONGEST_RETENTION, MOST_CREDIT, is_span};
use crate::model::time::duration;

const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// A length of time as a number of days: `30`, `0.5`.
#[derive(Debug)]
pub struct Days(pub Duration);

impl Days {
    /// The length of so many days; `None` when there is nothing left of it or it is longer than a hundred years.
    pub fn read(days: f64) -> Option<Duration> {
        let micros = u64::try_from(duration(days * SECONDS_OF_A_DAY).as_micros()).ok()?;
        Some(Duration::from_micros(micros)).filter(|&span| is_span(span, LONGEST_RETENTION))
    }

    /// The most that [`Self::read`] takes.
    pub fn most() -> f64 {
        LONGEST_RETENTION.as_secs_f64() / SECONDS_OF_A_DAY
    }
}

impl Serialize for Days {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DAY: u64 = 86_400;
        match (self.0.subsec_nanos(), self.0.as_secs() % DAY) {
            (0, 0) => serializer.serialize_u64(self.0.as_secs() / DAY),
            _ => serializer.serialize_f64(self.0.as_secs_f64() / SECONDS_OF_A_DAY),
        }
    }
}

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
    Ok(Answer(AccountView::of(&caller.config.account, None).with_call_minutes(left)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_come_back_as_they_were_given() {
        for text in ["30", "0.5", "1.25", "36500", "0.1", "7"] {
            let days = Days(Days::read(text.parse().unwrap()).unwrap());
            assert_eq!(serde_json::to_string(&days).unwrap(), text);
        }
        for days in [0.0, -1.0, 36_500.1, f64::INFINITY, f64::NAN, 1e-12] {
            assert_eq!(Days::read(days), None, "{days}");
        }
    }
}
