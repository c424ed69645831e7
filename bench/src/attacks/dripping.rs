//! A tenant that sends slowly what the server takes few of at a time: batches, and lines of an import.

use std::time::Duration;

use super::attack::{Attack, Beside, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// Between two bytes.
const SLOWLY: Duration = Duration::from_secs(1);
/// Bytes that a batch has by its own word.
const BATCH: usize = 1 << 20;
/// Bytes of a line that does not end, below the longest that an import takes.
const LINE: usize = 70 << 20;

/// Batches.
pub const BATCHES: Attack = Attack {
    name: "dripping-batches",
    about: "a tenant makes 40 batches at a time, each a byte a second",
    needs: None,
    beside: Some(Beside {
        method: "POST",
        path: "/v1/batches",
        body: r#"{"name":"honest","contacts":[{"phone":"+15550001111"}]}"#,
    }),
    prepare: batches,
};

/// Imports.
pub const IMPORTS: Attack = Attack {
    name: "unfinished-imports",
    about: "a tenant imports 8 lines of 70 MiB that do not end",
    needs: None,
    beside: None,
    prepare: imports,
};

fn batches(target: &Target) -> Prepared<'_> {
    Box::pin(async { Ok(dripping(target, 40, "/v1/batches", BATCH, 1 << 10, r#"{"name":"slow","x":""#)) })
}

fn imports(target: &Target) -> Prepared<'_> {
    Box::pin(async { Ok(dripping(target, 8, "/v1/import", 2 * LINE, LINE, r#"{"kind":"account","x":""#)) })
}

/// Sends the first bytes of a body at once, and the rest slowly.
fn dripping(
    target: &Target,
    connections: usize,
    path: &str,
    declared: usize,
    first: usize,
    begin: &str,
) -> Script {
    let more = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", target.key);
    let mut request = target.head("POST", path, &more, declared);
    let end = request.len() + first;
    request.extend_from_slice(begin.as_bytes());
    request.resize(end, b'a');
    Script::repeat(connections, request, Then::Drip(SLOWLY))
}
