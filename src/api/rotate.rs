//! Rotation: a new secret takes over from the old one without a gap. Standard Webhooks and sources go on with both
//! for a while; a dialect with a single signature switches at its moment. Refuses to know what the secrets sign.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::credential::{self, Made, Side, Wanted};
use super::endpoints::{self, EndpointView};
use super::form::{Form, Given, duration};
use super::problem::Problem;
use super::shown_once::once;
use super::sources::{self, SourceView};
use super::state::ApiState;
use crate::dialect::{self, Proof};
use crate::model::secret::{Credential, Secret};
use crate::model::{DialectName, Endpoint, Source, Time};

/// How long the old secret counts beside the new one: a day.
const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 3600);
/// The longest grace, and how far ahead a switch may be planned, in seconds: a year.
const FARTHEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a rotation may say. Every field may be left out, and the body too.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `Order::read` is what reads it")]
pub struct RotateForm {
    /// The new secret. Left out, one is made and shown once.
    secret: Option<String>,
    /// The new token of `Authorization: Bearer`. Left out, one is made. It takes over at once.
    bearer_token: Option<String>,
    /// When the new secret takes over; now, if left out. The standard dialect signs with both from now on and sources
    /// take both, so there it only says from when the grace counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    activate_at: Option<()>,
    /// How long the old secret counts after that. Default a day.
    grace_seconds: Option<f64>,
}

/// A source or endpoint after a rotation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rotated<T> {
    /// When the new secret takes over.
    #[schema(value_type = String, format = DateTime)]
    activate_at: Time,
    /// Until when the old one counts.
    #[schema(value_type = String, format = DateTime)]
    old_expires_at: Time,
    #[serde(flatten)]
    of: T,
}

/// What a request asks for.
struct Order {
    wanted: Wanted,
    now: Time,
    activate_at: Time,
    old_ends: Time,
}

impl Order {
    fn read(body: &[u8], dialect: DialectName, side: Side, now: Time) -> Result<Self, Problem> {
        let mut form = Form::read(body)?;
        let wanted = credential::read(&mut form, Some(dialect), side);
        if wanted == Wanted::Unsigned {
            form.wrong(
                "secret",
                "missing",
                "Leave it out to have one made. To sign no more, PATCH it to null.",
            );
        }
        let activate_at = match form.string("activate_at") {
            Given::Value(text) => match Time::parse(&text) {
                Some(at) if at.since(now) <= FARTHEST => Some(at.max(now)),
                _ => {
                    form.wrong(
                        "activate_at",
                        "out_of_range",
                        "Give a time within a year: 2026-01-31T12:00:00Z.",
                    );
                    None
                }
            },
            _ => None,
        };
        let grace = match form.number("grace_seconds") {
            Given::Value(seconds) => {
                let grace = duration(seconds, FARTHEST);
                if grace.is_none() {
                    form.wrong(
                        "grace_seconds",
                        "out_of_range",
                        format!("Give seconds from 0 to {}.", FARTHEST.as_secs()),
                    );
                }
                grace
            }
            _ => None,
        };
        if dialect::get(dialect).proof() == Proof::Bearer {
            for (field, is_given) in
                [("activate_at", activate_at.is_some()), ("grace_seconds", grace.is_some())]
            {
                if is_given {
                    form.wrong(
                        field,
                        "not_used",
                        "There is one bearer token at a time: it takes over at once.",
                    );
                }
            }
            form.finish()?;
            return Ok(Self { wanted, now, activate_at: now, old_ends: now });
        }
        form.finish()?;
        let activate_at = activate_at.unwrap_or(now);
        Ok(Self { wanted, now, activate_at, old_ends: activate_at.after(grace.unwrap_or(DEFAULT_GRACE)) })
    }

    fn turn(self, side: Side, dialect: DialectName, old: &Credential) -> Result<(Credential, Made), Problem> {
        let (new, made) = self.wanted.make(dialect, None);
        let Some(secret) = new.secrets.first().map(|dated| Secret::clone(&dated.secret)) else {
            return Ok((new, made));
        };
        let both =
            credential::rotate(side, old, secret, self.now, self.activate_at, self.old_ends).ok_or_else(|| {
                let detail = "Too many secrets are in rotation. Wait until one of them has ended, or end them all now: send \
                              \"grace_seconds\": 0.";
                Problem::conflict("too_many_secrets", detail)
            })?;
        Ok((both, made))
    }
}

/// Rotate the secret of an endpoint
///
/// `standard` signs with both until the old secret ends; dialects with one signature sign with the new one from
/// `activate_at` on; a bearer token takes over at once.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/rotate-secret", tag = "Endpoints", params(("id" = String, Path)),
    request_body = Option<RotateForm>,
    responses((status = 200, description = "Rotated; a generated credential is shown here and never again", body = Rotated<EndpointView>)),
)]
pub async fn endpoint(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Response, Problem> {
    let now = state.clock.now();
    let rotate = |current: &Endpoint| {
        let order = Order::read(&body, current.dialect, Side::Endpoint, now)?;
        if dialect::get(current.dialect).proof() == Proof::Unsigned {
            let detail =
                format!("The dialect {} signs nothing: there is no secret to rotate.", current.dialect);
            return Err(Problem::conflict("no_secret", detail));
        }
        let times = (order.activate_at, order.old_ends);
        let (credential, made) = order.turn(Side::Endpoint, current.dialect, &current.credential)?;
        Ok((Endpoint { credential, ..current.clone() }, (times, made)))
    };
    let (endpoint, ((activate_at, old_expires_at), made)) =
        endpoints::change_one(&state, &caller, &id, rotate).await?;
    Ok(once(StatusCode::OK, |reveal| {
        let of = EndpointView::of(&endpoint, made.shown(reveal));
        Rotated { activate_at, old_expires_at, of }
    }))
}

/// Rotate the secret of a source
///
/// The source accepts both until the old secret ends, and no third one beside them; a bearer token takes over at once. Of an unsigned source the
/// token in its URL is renewed at once, unless a `secret` is given: then it is signed from now on.
#[utoipa::path(
    post, path = "/v1/sources/{id}/rotate-secret", tag = "Sources", params(("id" = String, Path)),
    request_body = Option<RotateForm>,
    responses((status = 200, description = "Rotated; a generated credential is shown here and never again", body = Rotated<SourceView>)),
)]
pub async fn source(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Response, Problem> {
    let now = state.clock.now();
    let rotate = |current: &Source| {
        let order = Order::read(&body, current.dialect, Side::Source, now)?;
        if credential::is_empty(&current.credential) && order.wanted == Wanted::Unsaid {
            let url_token = Some(credential::url_token());
            return Ok((Source { url_token, ..current.clone() }, ((now, now), Made::default())));
        }
        let times = (order.activate_at, order.old_ends);
        let (credential, made) = order.turn(Side::Source, current.dialect, &current.credential)?;
        Ok((Source { credential, ..current.clone() }, (times, made)))
    };
    let (source, ((activate_at, old_expires_at), made)) =
        sources::change_one(&state, &caller, &id, rotate).await?;
    Ok(once(StatusCode::OK, |reveal| {
        let of = SourceView::of(&source, sources::url(&state, &source, reveal), made.shown(reveal));
        Rotated { activate_at, old_expires_at, of }
    }))
}
