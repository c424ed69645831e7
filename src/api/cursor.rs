//! Cursors: where a page of a list ended. Opaque and signed, so that a made-up one is told from a real one.
//! Refuses to know what is listed.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde::Serialize;

use super::problem::BAD_CURSOR;
use super::query::Query;
use crate::model::id::Tag;
use crate::model::{Mac, Text};
use crate::store::Page;
use crate::store::analytics::TextPage;

/// The lists that have cursors; one's cursor is no other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `/v1/calls`
    Calls = 1,
    /// `/v1/events`
    Events = 2,
    /// `/v1/deliveries`
    Deliveries = 3,
    /// `/v1/quarantine`
    Quarantine = 4,
    /// `/v1/sources`
    Sources = 5,
    /// `/v1/endpoints`
    Endpoints = 6,
    /// `/v1/erasures`
    Erasures = 20,
    /// `/v1/batches`
    Batches = 21,
    /// `/v1/batches/{id}/contacts`
    Contacts = 22,
    /// `/v1/batches/{id}/calls`
    BatchCalls = 23,
    /// `/v1/campaigns`
    Campaigns = 24,
    /// `/v1/agents`
    Agents = 25,
    /// `/v1/analytics`
    Analytics = 26,
    /// `/v1/replays`
    Replays = 27,
}

/// How much of the HMAC goes along: enough that nobody guesses one.
const PROOF: usize = 12;

impl List {
    /// The cursor of a place in this list.
    pub fn seal(self, key: &hmac::Key, account: Tag, number: i64) -> String {
        let proof = self.prove(key, account, number);
        BASE64URL_NOPAD.encode(&[number.to_be_bytes().as_slice(), &proof.as_bytes()[..PROOF]].concat())
    }

    /// The place of a cursor; `None` when this list of this account never gave it out.
    pub fn open(self, key: &hmac::Key, account: Tag, cursor: &str) -> Option<i64> {
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
        let (number, proof) = bytes.split_first_chunk::<8>()?;
        let number = i64::from_be_bytes(*number);
        let proof: &[u8; PROOF] = proof.try_into().ok()?;
        self.prove(key, account, number).begins_with(proof).then_some(number)
    }

    fn prove(self, key: &hmac::Key, account: Tag, number: i64) -> Mac {
        Mac::over(key, &[format!("cursor {} {} {number}", self as u8, account.0).as_bytes()])
    }

    /// The cursor of a place in this list, which goes by a text.
    pub fn seal_text(self, key: &hmac::Key, account: Tag, id: &Text) -> String {
        let proof = self.prove_text(key, account, id.as_bytes());
        BASE64URL_NOPAD.encode(&[&proof.as_bytes()[..PROOF], id.as_bytes()].concat())
    }

    fn open_text(self, key: &hmac::Key, account: Tag, cursor: &str) -> Option<Text> {
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
        let (proof, id) = bytes.split_first_chunk::<PROOF>()?;
        self.prove_text(key, account, id).begins_with(proof).then(|| Text::from_bytes(id))
    }

    fn prove_text(self, key: &hmac::Key, account: Tag, id: &[u8]) -> Mac {
        Mac::over(key, &[format!("cursor {} {} text ", self as u8, account.0).as_bytes(), id])
    }

    /// Reads `cursor` and `limit` of a list that goes by a text. The page asks for no more than the limit.
    pub fn text_page(self, query: &mut Query, key: &hmac::Key, account: Tag) -> TextPage {
        let after = query.take("cursor").and_then(|cursor| {
            let place = self.open_text(key, account, &cursor);
            if place.is_none() {
                query.wrong(
                    "cursor",
                    BAD_CURSOR,
                    "Pass on the \"next_cursor\" of this list, or leave it out.",
                );
            }
            place
        });
        TextPage { after, limit: query.limit(DEFAULT_LIMIT, MOST) }
    }

    /// Reads `cursor` and `limit`. The page asks for one more than the limit: whether there is more shows then.
    pub fn page(self, query: &mut Query, key: &hmac::Key, account: Tag) -> Page {
        self.page_of(query, key, account, MOST)
    }

    /// The same for a list that shows more at once.
    pub fn page_of(self, query: &mut Query, key: &hmac::Key, account: Tag, most: usize) -> Page {
        let after = query.take("cursor").and_then(|cursor| {
            let place = self.open(key, account, &cursor);
            if place.is_none() {
                query.wrong(
                    "cursor",
                    BAD_CURSOR,
                    "Pass on the \"next_cursor\" of this list, or leave it out.",
                );
            }
            place
        });
        Page { after, limit: query.limit(DEFAULT_LIMIT, most) + 1 }
    }

    /// Cuts a page to its limit, with the cursor of its end when there is more.
    pub fn cut<T>(
        self,
        found: Vec<T>,
        page: Page,
        key: &hmac::Key,
        account: Tag,
        number: impl Fn(&T) -> i64,
    ) -> (Vec<T>, Option<String>) {
        self.cut_by_size(found, page, key, account, number, |_| 0)
    }

    /// The same for records that may be large: a page ends at [`MOST_BYTES`] too, but holds one record at least.
    pub fn cut_by_size<T>(
        self,
        mut found: Vec<T>,
        page: Page,
        key: &hmac::Key,
        account: Tag,
        number: impl Fn(&T) -> i64,
        size: impl Fn(&T) -> usize,
    ) -> (Vec<T>, Option<String>) {
        let mut bytes = 0_usize;
        let fits = |record: &T| {
            bytes = bytes.saturating_add(size(record));
            bytes <= MOST_BYTES
        };
        let fitting = found.iter().map(fits).take_while(|fits| *fits).count().max(1);
        let limit = page.limit.saturating_sub(1).min(fitting);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let end = found.last().filter(|_| has_more).map(|last| self.seal(key, account, number(last)));
        (found, end)
    }
}

/// The bytes after which a page of large records ends, whatever its limit.
pub const MOST_BYTES: usize = 4 << 20;

/// How large a record is as JSON.
pub fn json_size(record: &impl Serialize) -> usize {
    struct Counted(usize);

    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut counted = Counted(0);
    // Whatever cannot be written is not written later either.
    let _ = serde_json::to_writer(&mut counted, record);
    counted.0
}

/// How many records a list shows unless asked.
pub const DEFAULT_LIMIT: usize = 50;
/// How many at most.
pub const MOST: usize = 100;

/// One page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Listed<T> {
    /// The records.
    pub data: Vec<T>,
    /// Where the next page begins; `null` when there is none.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_its_own_list_only() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let cursor = List::Calls.seal(&key, Tag(1), 77);
        assert_eq!(List::Calls.open(&key, Tag(1), &cursor), Some(77));
        assert_eq!(List::Events.open(&key, Tag(1), &cursor), None);
        assert_eq!(List::Calls.open(&key, Tag(2), &cursor), None);
        for broken in ["", "77", "AAAA", &cursor[1..], &format!("{cursor}A")] {
            assert_eq!(List::Calls.open(&key, Tag(1), broken), None, "{broken}");
        }
    }

    #[test]
    fn a_page_ends_at_its_bytes_too_and_goes_on_from_there() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let page = Page { after: None, limit: 5 };
        let cut = |sizes: &[usize]| {
            let found = (0..).zip(sizes.iter().copied()).collect::<Vec<(i64, usize)>>();
            let (kept, end) = List::Calls.cut_by_size(found, page, &key, Tag(1), |it| it.0, |it| it.1);
            (kept.len(), end.map(|end| List::Calls.open(&key, Tag(1), &end).unwrap()))
        };
        assert_eq!(cut(&[1; 4]), (4, None));
        assert_eq!(cut(&[1; 5]), (4, Some(3)), "by its limit");
        assert_eq!(cut(&[MOST_BYTES / 2; 3]), (2, Some(1)), "by its bytes");
        assert_eq!(cut(&[MOST_BYTES / 2; 2]), (2, None));
        assert_eq!(cut(&[2 * MOST_BYTES, 1]), (1, Some(0)), "one at least");
        assert_eq!(cut(&[2 * MOST_BYTES]), (1, None));
        assert_eq!(cut(&[]), (0, None));
        assert_eq!(json_size(&["a", "\n"]), 10);
    }
}
