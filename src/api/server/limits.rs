//! What a server allows its clients. Does not depend on who keeps them to it.

use std::time::Duration;

/// What a server allows its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Connections of one address at the same time, unless it recently proved itself.
    pub connections_per_address: usize,
    /// How long a head may take from its first byte to its end. The first head of a stranger's connection counts from
    /// its opening.
    pub head_patience: Duration,
    /// How long a client may leave what is to be written unread, before the minimum speed counts.
    pub write_grace: Duration,
    /// The minimum speed at which a client has to read, in bytes a second.
    pub write_rate: u32,
    /// After a stop, how long a connection is waited for that moves nothing.
    pub stop_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1024,
            head_patience: Duration::from_secs(10),
            write_grace: Duration::from_secs(20),
            write_rate: 1024,
            stop_patience: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// How long a client that reads at the minimum speed needs for so many bytes.
    pub fn time_for(&self, bytes: usize) -> Duration {
        Duration::from_micros(1_000_000 * bytes as u64 / u64::from(self.write_rate.max(1)))
    }

    /// What moves at the minimum speed in this time, in bytes.
    pub fn least_bytes(&self, time: Duration) -> u64 {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(self.write_rate)) / 1000
    }
}
