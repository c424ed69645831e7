//! What a transaction is for, as far as that decides what is done where the disk is full.

/// What a transaction does to the room on the disk. Where that is full, it decides what is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Takes in what is new: refused.
    #[default]
    Add,
    /// Goes on with what was taken in, such as what attempts came to: done as long as enough is left for what frees room.
    Settle,
    /// Frees room, or has to be possible at any time: done with all that there is.
    Free,
}
