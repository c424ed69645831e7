//! Requests that never end: heads that come byte by byte, and bodies that lack one byte, from strangers. Each would keep
//! a connection, and a megabyte with it.

use std::time::Duration;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// Bytes of a body, the most that a route takes from a stranger.
const BODY: usize = 1 << 20;
/// Between two bytes of a head: often enough that nobody takes the connection for idle.
const SLOWLY: Duration = Duration::from_secs(2);
/// When the last byte of a body would come: never.
const NEVER: Duration = Duration::from_secs(3600);

/// Heads.
pub const HEADS: Attack = Attack {
    name: "half-heads",
    about: "1,000 connections that send the head of a request byte by byte",
    needs: None,
    beside: None,
    prepare: |target| prepare(target, Unfinished::Head),
};

/// Bodies where a key is needed.
pub const AGENTS: Attack = Attack {
    name: "unfinished-agents",
    about: "1,000 bodies of 1 MiB without a key that lack one byte, at PUT /agents/x",
    needs: None,
    beside: None,
    prepare: |target| prepare(target, Unfinished::Body("PUT", "/agents/x")),
};

/// Bodies where anybody may send.
pub const BODIES: Attack = Attack {
    name: "unfinished-bodies",
    about: "1,000 bodies of 1 MiB that lack one byte, at a source that is not there",
    needs: None,
    beside: None,
    prepare: |target| prepare(target, Unfinished::Body("POST", "/in/nobody")),
};

/// What does not end.
enum Unfinished {
    Head,
    Body(&'static str, &'static str),
}

fn prepare(target: &Target, what: Unfinished) -> Prepared<'_> {
    Box::pin(async move {
        let (request, every) = match what {
            Unfinished::Head => {
                (format!("GET /docs HTTP/1.1\r\nhost: {}\r\nx-slow: ", target.host).into_bytes(), SLOWLY)
            }
            Unfinished::Body(method, path) => {
                let mut request = target.head(method, path, "content-type: application/json\r\n", BODY);
                request.resize(request.len() + BODY - 1, b' ');
                (request, NEVER)
            }
        };
        Ok(Script::repeat(1_000, request, Then::Drip(every)).spread(20))
    })
}
