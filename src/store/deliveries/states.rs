//! The states of open deliveries, as `open.state` has them. Does not depend on what brings one from one to another.

/// `open.state`: may be claimed when due.
pub const CLAIMABLE: i64 = 0;
/// `open.state`: an earlier delivery of the same call to the same endpoint goes first.
pub const WAITING: i64 = 1;
/// `open.state`: in this process's memory.
pub const OWNED: i64 = 2;
/// `open.state`: a replay; claimed when nothing else is due.
pub const BEHIND: i64 = 3;
/// `open.state`: waits for what its endpoint wants with it.
pub const HELD: i64 = 4;
