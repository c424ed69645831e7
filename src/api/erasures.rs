//! `/v1/erasures`: a person's wish to be forgotten, and the receipt for it. Refuses to know where a person may be found:
//! that is the store's.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use data_encoding::HEXLOWER;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::cursor::{List, Listed};
use super::form::Form;
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::model::id::Kind;
use crate::model::{Mention, Time};
use crate::store::erasure::Erasure;

/// Whom to erase.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `create` reads it")]
pub struct ErasureForm {
    /// The person's phone number, with or without marks between its digits; at least seven digits. No country is guessed:
    /// where records hold a number in two forms, ask for both. Also an address such as `sip:ann@example.com`.
    phone: String,
}

/// The erasure of one person, and in the end the receipt for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureView {
    id: String,
    /// `running` or `finished`.
    state: &'static str,
    /// What is being done: the name of a room, `free space`, `log`; `null` when it is finished.
    doing: Option<String>,
    /// Stands for the number, which is not kept: an HMAC under a key of this store. The same number in the same account has
    /// the same digest.
    phone_digest: String,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Time,
    /// When the last record was erased. Everything that was recorded before `requested_at` is in it.
    #[schema(value_type = Option<String>, format = DateTime)]
    erased_at: Option<Time>,
    /// When what was erased had been overwritten in the free pages of the database and in its log: the end.
    #[schema(value_type = Option<String>, format = DateTime)]
    overwritten_at: Option<Time>,
    /// How many of what: `calls` and `events` whose personal fields are gone, `deliveries_cancelled` (of them
    /// `deliveries_in_memory`), `kept_bodies`, `delivery_answers` (what receivers answered), `quarantined` bodies,
    /// `answers` kept for repeated requests. What is not named had nothing.
    erased: BTreeMap<String, i64>,
}

impl ErasureView {
    fn of(caller: &Caller, erasure: Erasure) -> Self {
        Self {
            id: caller.id(Kind::Erasure, erasure.number),
            state: if erasure.room.is_some() { "running" } else { "finished" },
            doing: erasure.room,
            phone_digest: format!("hmac-sha256:{}", HEXLOWER.encode(&erasure.digest)),
            requested_at: erasure.requested_at,
            erased_at: erasure.erased_at,
            overwritten_at: erasure.overwritten_at,
            erased: erasure.counts,
        }
    }
}

/// Erase a person
///
/// Begins a job that goes through everything that the account keeps: whatever names the number. Records keep their ids,
/// times and outcome, so that the feed has no gap and the sums hold; contact, transcript, recording, analysis in words,
/// variables and metadata are gone, for good: a repeat of the vendor does not bring them back. What was still owed about
/// the person is cancelled. It cannot be undone.
#[utoipa::path(
    post, path = "/v1/erasures", tag = "Lifetime of data", request_body = ErasureForm,
    responses((status = 202, description = "Begun; it goes on over restarts", body = ErasureView)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<(StatusCode, Answer<ErasureView>), Problem> {
    let mut form = Form::read(&body)?;
    let given = form.string("phone");
    let phone = form.required("phone", given);
    let person = phone.as_deref().and_then(Mention::of);
    if phone.is_some() && person.is_none() {
        let detail = "Give a phone number of at least seven digits, or an address like sip:ann@example.com.";
        form.wrong("phone", "not_a_number", detail);
    }
    form.finish()?;
    let person = person.ok_or_else(Problem::internal)?;
    let made = state.store.erase(caller.account, person, state.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, Answer(ErasureView::of(&caller, made))))
}

/// List erasures
#[utoipa::path(
    get, path = "/v1/erasures", tag = "Lifetime of data",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "Newest first", body = Listed<ErasureView>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<ErasureView>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Erasures.page(&mut query, key, caller.tag);
    query.finish()?;
    let found = state.store.erasures(caller.account, page).await?;
    let (found, next_cursor) = List::Erasures.cut(found, page, key, caller.tag, |erasure| erasure.number);
    let data = found.into_iter().map(|erasure| ErasureView::of(&caller, erasure)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// Read the receipt of an erasure
#[utoipa::path(
    get, path = "/v1/erasures/{id}", tag = "Lifetime of data", params(("id" = String, Path)),
    responses((status = 200, description = "How far it is, or what was erased where and when", body = ErasureView)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<ErasureView>, Problem> {
    let missing = || Problem::not_found("erasure");
    let number = caller.number(Kind::Erasure, &id).ok_or_else(missing)?;
    let found = state.store.erasure(caller.account, number).await?.ok_or_else(missing)?;
    Ok(Answer(ErasureView::of(&caller, found)))
}
