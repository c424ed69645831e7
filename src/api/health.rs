//! For operators: whether the process lives, whether it can take events, and the numbers. Refuses to know why.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::problem::Problem;
use super::state::ApiState;
use crate::metrics::CONTENT_TYPE;
use crate::store::StoreError;
use crate::store::condition::Trouble;

/// How long the store may take to prove that it can be written: whoever asks has little patience.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the log calls what is done here.
const WORK: &str = "proving that the store can be written";

/// That all is well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", tag = "Operations", responses((status = 200, description = "It is", body = Health)))]
pub async fn alive() -> Answer<Health> {
    Answer(Health { status: "ok" })
}

/// Can events be taken?
#[utoipa::path(
    get, path = "/readyz", tag = "Operations",
    responses((status = 200, description = "The store can be written", body = Health), (status = 503, description = "It cannot; `detail` says why: its disk is full, its database is damaged, or it is away")),
)]
pub async fn ready(State(state): State<ApiState>) -> Result<Answer<Health>, Problem> {
    let away = |_| Err(StoreError::Unavailable("it does not answer".to_owned()));
    match timeout(PATIENCE, state.store.ready()).await.unwrap_or_else(away) {
        Ok(()) => {
            state.readiness.worked(WORK);
            Ok(Answer(Health { status: "ok" }))
        }
        Err(error) => {
            state.readiness.failed(WORK, &error);
            Err(match error {
                StoreError::Full(_) => Problem::no_room(),
                StoreError::Damaged(_) => Problem::damaged_at_all(),
                _ => Problem::unavailable(),
            })
        }
    }
}

/// The numbers
///
/// In OpenMetrics text, for Prometheus. A server that was started with `--metrics-listen` has them on that address, and
/// not here.
#[utoipa::path(
    get, path = "/metrics", tag = "Operations",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")),
)]
pub async fn metrics(State(state): State<ApiState>) -> Response {
    let Trouble { is_full, is_damaged } = state.store.trouble();
    state.metrics.store_is(is_full, is_damaged);
    ([(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))], state.metrics.text()).into_response()
}
