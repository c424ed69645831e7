//! What an attack is. Does not depend on which attacks there are.

use std::pin::Pin;

use super::script::Script;
use super::target::Target;

/// What preparing an attack gives: what every connection of it then does.
pub(super) type Prepared<'a> = Pin<Box<dyn Future<Output = Result<Script, String>> + 'a>>;

/// Something that a stranger or another tenant may try.
pub struct Attack {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// An option of `postcall serve` without which it cannot be tried.
    pub needs: Option<&'static str>,
    /// An honest request that has to be answered beside it, where it aims at more than ingest.
    pub beside: Option<Beside>,
    /// Makes what it needs, such as endpoints of its own, and says what its connections do.
    pub(super) prepare: for<'a> fn(&'a Target) -> Prepared<'a>,
}

/// An honest request that is made again and again.
#[derive(Clone, Copy)]
pub struct Beside {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
    /// The JSON body; empty for none.
    pub body: &'static str,
}
