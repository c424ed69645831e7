//! Whose turn it is in a maintenance job. Does not depend on what the jobs do.

pub mod due;
pub mod turns;
