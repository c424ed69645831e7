//! How much memory an event takes while it waits for its group: its body as it came, and what was parsed out of it, which is
//! many times larger where the body has many small fields. An estimate that errs on the high side. Does not depend on what
//! a bound on it is.

use super::prepared::PreparedEvent;
use crate::model::call::Turn;
use crate::model::{Call, Fields, Raw, Text};
use crate::store::{Incoming, Parsed};

/// What an allocator takes for a small value, beside the value's own size.
const ALLOCATION: usize = 32;
/// A field of a free-form object: a vector has up to twice the room that it needs, and key and value lie elsewhere.
const FIELD: usize = 2 * (size_of::<(Text, Raw)>() + ALLOCATION);
/// A turn of a transcript, likewise.
const TURN: usize = 2 * (size_of::<Turn>() + ALLOCATION);
/// A record without its text: its struct, with each of its leaves allocated.
const RECORD: usize = 2 * size_of::<Call>();

/// Bytes that an event takes in memory.
pub fn of(incoming: &Incoming) -> usize {
    let raw = incoming.raw.len();
    let parsed = match &incoming.parsed {
        Parsed::Events(all) => all.iter().map(|prepared| prepared_size(prepared, raw)).sum(),
        Parsed::Test(heard) => record_size(&heard.call, 2 * raw),
        Parsed::Unreadable(why) => why.len(),
    };
    size_of::<Incoming>() + raw + parsed
}

fn prepared_size(prepared: &PreparedEvent, raw: usize) -> usize {
    match prepared {
        PreparedEvent::Call(call) => {
            let (packed, text) =
                call.snapshot.as_ref().map_or((0, raw), |snapshot| (snapshot.packed.len(), snapshot.size));
            call.marks.len() + packed + record_size(&call.book.call, text)
        }
        PreparedEvent::Batch(heard) => RECORD + raw + fields_size(&heard.batch.metadata),
    }
}

/// A record whose text comes to so many bytes.
fn record_size(call: &Call, text: usize) -> usize {
    let turns = call.transcript.turns.iter().flatten();
    RECORD
        + text
        + fields_size(&call.variables)
        + fields_size(&call.metadata)
        + turns.map(|turn| TURN + fields_size(&turn.more)).sum::<usize>()
}

fn fields_size(fields: &Fields) -> usize {
    fields.iter().count() * FIELD
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::dialect::{self, Reading};
    use crate::model::{AccountKey, DialectName, Time};

    fn weigh(dialect: DialectName, raw: String) -> usize {
        let Reading::Events(heard) = dialect::get(dialect).read(raw.as_bytes()) else { panic!("readable") };
        of(&Incoming {
            account: AccountKey::DEFAULT,
            source: 1,
            received_at: Time::MIN,
            raw: Bytes::from(raw),
            content_type: None,
            parsed: Parsed::events(heard),
        })
    }

    #[test]
    fn a_body_of_tiny_fields_weighs_what_they_take_parsed() {
        // A vector's header and two allocations of at least 16 bytes for each of them.
        const AT_LEAST: usize = 24 + 16 + 2 * 16;
        let fields: String = (0..100_000).map(|number| format!(",\"{number:x}\":1")).collect();
        let raw = format!("{{\"callId\":\"c\"{fields}}}");
        let size = raw.len();
        assert!(size < 1 << 20);
        let weight = weigh(DialectName::Cllr, raw);
        assert!(weight > 100_000 * AT_LEAST + size, "{weight}");
        assert!(weight < 100_000 * 4 * AT_LEAST + size, "{weight}");
    }

    #[test]
    fn a_body_of_tiny_turns_weighs_what_they_take_parsed() {
        let turns = "AI:b\\n".repeat(100_000);
        let raw = format!(
            "{{\"event\":\"call.ended\",\"call_id\":\"c\",\"status\":\"completed\",\"transcript\":\"{turns}\"}}"
        );
        let size = raw.len();
        assert!(size < 1 << 20);
        let weight = weigh(DialectName::Aloro, raw);
        assert!(weight > 100_000 * size_of::<Turn>() + size, "{weight} of {size}");
    }

    #[test]
    fn an_ordinary_body_weighs_a_few_times_its_size() {
        let raw = format!("{{\"callId\":\"c\",\"callAnalysis\":{{\"summary\":\"{}\"}}}}", "x".repeat(4000));
        let size = raw.len();
        let weight = weigh(DialectName::Cllr, raw);
        assert!(weight > 2 * size && weight < 4 * size, "{weight} of {size}");
    }
}
