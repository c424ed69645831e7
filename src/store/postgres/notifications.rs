//! News between nodes, by `NOTIFY`: an account's configuration changed, deliveries were called off, a node is gone. They
//! only make things quicker: whoever misses some asks the tables every second, and looks at everything after a new
//! connection. Refuses to know what a node makes of them.

use crate::model::AccountKey;
use crate::store::config::accounts::Changed;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::Connection;
use crate::store::{EndpointRef, StoreError};

/// The channel.
pub const CHANNEL: &str = "postcall";
/// Deliveries that one piece of news names; it may have 8,000 bytes.
const MOST_NAMED: usize = 150;

/// A piece of news, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The configuration of an account changed.
    Changed(AccountKey),
    /// A node is gone, and what it owned is anybody's.
    Gone,
    /// Deliveries are not to be attempted.
    CalledOff(Vec<(EndpointRef, i64)>),
}

impl Message {
    fn write(&self) -> String {
        match self {
            Self::Changed(account) => format!("changed {}", account.0),
            Self::Gone => "gone".to_owned(),
            Self::CalledOff(all) => {
                let word = |(endpoint, delivery): &(EndpointRef, i64)| {
                    format!(" {}:{delivery}", pack(endpoint.account, endpoint.number))
                };
                format!("off{}", all.iter().map(word).collect::<String>())
            }
        }
    }

    /// Reads one; `None` for what a newer node may say.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        match words.next()? {
            "changed" => Some(Self::Changed(AccountKey(words.next()?.parse().ok()?))),
            "gone" => Some(Self::Gone),
            "off" => {
                let read = |word: &str| {
                    let (endpoint, delivery) = word.split_once(':')?;
                    let (account, number) = unpack(endpoint.parse().ok()?);
                    Some((EndpointRef { account, number }, delivery.parse().ok()?))
                };
                words.map(read).collect::<Option<_>>().map(Self::CalledOff)
            }
            _ => None,
        }
    }
}

fn tell(db: &Connection, message: &Message) -> Result<(), StoreError> {
    db.prepare_cached("SELECT pg_notify(?, ?)")?.exists([CHANNEL, &message.write()])?;
    Ok(())
}

/// The configuration was changed by this transaction.
pub fn tell_of_changes(db: &Connection, changed: &[Changed]) -> Result<(), StoreError> {
    let mut accounts: Vec<AccountKey> = changed.iter().map(|change| change.account()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    accounts.into_iter().try_for_each(|account| tell(db, &Message::Changed(account)))
}

/// What a node owned was taken over.
pub fn tell_of_a_gone_node(db: &Connection) -> Result<(), StoreError> {
    tell(db, &Message::Gone)
}

/// Deliveries were called off that may be in another node's memory.
pub fn tell_of_called_off(db: &Connection, called_off: &[(EndpointRef, i64)]) -> Result<(), StoreError> {
    called_off.chunks(MOST_NAMED).try_for_each(|some| tell(db, &Message::CalledOff(some.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let endpoint = EndpointRef { account: AccountKey(3), number: 7 };
        for message in [
            Message::Changed(AccountKey(5)),
            Message::Gone,
            Message::CalledOff(vec![(endpoint, 9), (endpoint, 10)]),
        ] {
            assert_eq!(Message::read(&message.write()), Some(message));
        }
        let most = Message::CalledOff(vec![(endpoint, i64::MAX); MOST_NAMED]);
        assert!(most.write().len() < 8000);
        for strange in ["", "changed", "changed x", "off 3", "tomorrow's news"] {
            assert_eq!(Message::read(strange), None, "{strange}");
        }
    }
}
