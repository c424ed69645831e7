//! Deliveries as people see them and change them by hand. How a node comes to own one is `claims`.

use crate::model::{AccountKey, DeliveryState, Time};
use crate::store::{Answer, DeliveryFilter, DeliveryView, Page, Sum};

/// What a manual change to a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManualOutcome {
    /// Done.
    Done,
    /// No such delivery.
    Missing,
    /// It is not in a state for that.
    WrongState(DeliveryState),
}

/// Shows deliveries and their counters, and changes one by hand.
pub trait Deliveries: Send + Sync {
    /// Deliveries, newest first.
    fn deliveries(
        &self,
        account: AccountKey,
        filter: DeliveryFilter,
        page: Page,
    ) -> Answer<'_, Vec<DeliveryView>>;
    /// A delivery by number.
    fn delivery(&self, account: AccountKey, number: i64) -> Answer<'_, Option<DeliveryView>>;
    /// The sums of every endpoint that ever was; counted anew from the rows when `recount`.
    fn sums(&self, account: AccountKey, recount: bool) -> Answer<'_, Vec<Sum>>;
    /// Puts a dead or pending delivery up for an attempt now, out of its call's order; one under way is left alone. A
    /// dead one of a deleted endpoint is not in a state for that. The caller wakes the endpoint.
    fn retry(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, ManualOutcome>;
    /// Calls a pending delivery off. The caller wakes the endpoint: the next one of the call may go.
    fn cancel(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, ManualOutcome>;
}
