//! `/v1/reconciliation`: the promise in numbers, `owed = delivered + pending + dead + cancelled` for each endpoint.
//! Refuses to know how they are counted.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::model::id::Kind;

/// The sums of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reconciliation {
    /// One for each endpoint that ever was.
    endpoints: Vec<EndpointSum>,
    /// Bodies in quarantine.
    quarantined: i64,
}

/// The sum of one endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointSum {
    endpoint_id: String,
    /// All deliveries ever planned: the sum of the other four. Those that are gone by the account's retention still
    /// count, in the state in which they went.
    owed: i64,
    delivered: i64,
    pending: i64,
    dead: i64,
    cancelled: i64,
}

/// Read the sums
#[utoipa::path(
    get, path = "/v1/reconciliation", tag = "Deliveries",
    params(("recount" = Option<bool>, Query, description = "Count the rows anew, and add what is gone by the account's retention, instead of reading the counters")),
    responses((status = 200, description = "The sums", body = Reconciliation)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Reconciliation>, Problem> {
    let mut query = Query::read(query.as_deref());
    let recount = query.flag("recount");
    query.finish()?;
    let sums = state.store.sums(caller.account, recount).await?;
    let quarantined = state.store.quarantine_size(caller.account).await?;
    let view = |sum: crate::store::Sum| EndpointSum {
        endpoint_id: caller.id(Kind::Endpoint, sum.endpoint),
        owed: sum.owed,
        delivered: sum.delivered,
        pending: sum.pending,
        dead: sum.dead,
        cancelled: sum.cancelled,
    };
    Ok(Answer(Reconciliation { endpoints: sums.into_iter().map(view).collect(), quarantined }))
}
