//! Who is owed an event. Pure: the event and the endpoints decide, nothing else.
//! Refuses to know queues, order and time; those are the store's and the dispatcher's.

use crate::dialect;
use crate::model::endpoint::Scope;
use crate::model::{Endpoint, Event, EventBody, Outcome, Text};

/// Whether the endpoint is owed this event. A disabled endpoint goes on being owed.
pub fn hears(endpoint: &Endpoint, event: &Event) -> bool {
    let wanted = endpoint.events.as_ref().is_none_or(|events| events.contains(&event.kind));
    wanted
        && in_scope(&endpoint.scope, event)
        && (!endpoint.completed_only || is_completed(event))
        && dialect::fires(dialect::get(endpoint.dialect), event)
}

/// "Completed Only" (seed 003): of calls, outcome completed alone. Says nothing about batches.
fn is_completed(event: &Event) -> bool {
    match &event.body {
        EventBody::Call { call, .. } => call.outcome == Some(Outcome::Completed),
        EventBody::Batch(_) | EventBody::Endpoint(_) => true,
    }
}

fn in_scope(scope: &Scope, event: &Event) -> bool {
    let (agent, campaign, batch) = match &event.body {
        EventBody::Call { call, .. } => {
            (call.agent.id.as_ref(), call.campaign.id.as_ref(), call.batch_id.as_ref())
        }
        EventBody::Batch(batch) => (batch.agent_id.as_ref(), None, Some(&batch.batch_id)),
        EventBody::Endpoint(_) => (None, None, None),
    };
    fits(scope.agent_id.as_ref(), agent)
        && fits(scope.campaign_id.as_ref(), campaign)
        && fits(scope.batch_id.as_ref(), batch)
}

fn fits(wanted: Option<&Text>, is: Option<&Text>) -> bool {
    wanted.is_none() || wanted == is
}
