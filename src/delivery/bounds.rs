//! How much a receiver may send before its answer. Does not depend on who counts it.

/// An answer's head may have this many bytes, and so may what hyper buffers of its body.
pub(super) const MOST_BUFFERED: usize = 64 * 1024;
/// Informational answers to one request. RFC 9110 knows no use for more than a few; a receiver that shows its progress by
/// them every ten seconds stays below it for as long as any exchange may take.
pub const MOST_INFORMATIONAL: usize = 32;
/// Bytes that may come before an answer: informational answers and the head, each as long as a head may be, and what of the
/// body came along with it.
pub const MOST_BEFORE_ANSWER: usize = 3 * MOST_BUFFERED;
