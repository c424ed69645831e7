//! How fast a body has to come: a sender may pause for a moment, and must otherwise keep a minimum speed, which rises
//! with the bytes that it makes the server hold. Pure: takes times and byte counts, does not read the clock.

use std::time::Duration;

use crate::model::time::duration;

/// The rules for the speed of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// How long a sender may be behind the minimum speed before the body is refused. Also the longest pause.
    pub grace: Duration,
    /// The minimum in bytes per second, however little is held.
    pub slowest: u32,
    /// In this time as many bytes have to come as are held, where that is more than `slowest` asks for. So a large body
    /// that is held in memory cannot be drawn out for hours.
    pub doubling: Duration,
}

impl Default for Speed {
    /// Five seconds of grace, then 16 KiB/s. At 1 MiB held both rules ask for the same.
    fn default() -> Self {
        Self { grace: Duration::from_secs(5), slowest: 16 * 1024, doubling: Duration::from_secs(64) }
    }
}

impl Speed {
    /// The time that these bytes may take where so many are held.
    fn time_for(&self, bytes: usize, held: usize) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "2^52 bytes of one body do not come")]
        let (bytes, held) = (bytes as f64, held as f64);
        let doubling = self.doubling.as_secs_f64().max(1e-3);
        let speed = f64::from(self.slowest.max(1)).max(held / doubling);
        duration(bytes / speed).min(self.grace)
    }
}

/// The time that one body has left. Runs only while the server waits for the sender.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    speed: Speed,
    left: Duration,
}

impl Pace {
    /// That of a body of which nothing has come.
    pub fn new(speed: Speed) -> Self {
        Self { speed, left: speed.grace }
    }

    /// How long the server waits for more.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// The server has waited.
    pub fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// Bytes came. So many are held now.
    pub fn came(&mut self, bytes: usize, held: usize) {
        self.left = (self.left + self.speed.time_for(bytes, held)).min(self.speed.grace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brings a body at an even speed, a piece each time. The number of bytes that came before it was refused; `None` when
    /// all came.
    fn bring(total: usize, bytes_per_second: f64, piece: usize) -> Option<usize> {
        let mut pace = Pace::new(Speed::default());
        let pause = duration(piece as f64 / bytes_per_second);
        let mut came = 0;
        while came < total {
            if pause > pace.left() {
                return Some(came);
            }
            pace.waited(pause);
            came += piece;
            pace.came(piece, came);
        }
        None
    }

    #[test]
    fn honest_slow_lines_pass() {
        assert_eq!(bring(2_000, 500.0, 100), None, "2 KB in four seconds");
        assert_eq!(bring(1 << 20, 17.0 * 1024.0, 1400), None, "1 MiB at little more than 16 KiB/s");
        assert_eq!(bring(64 << 20, 1.1 * 1024.0 * 1024.0, 16 * 1024), None, "64 MiB at 1.1 MiB/s");
    }

    #[test]
    fn a_drip_is_refused_after_the_grace() {
        assert_eq!(bring(1 << 20, 1.0, 1), Some(5), "a byte a second: five seconds of grace");
        let came = bring(1 << 20, 8.0 * 1024.0, 1024).unwrap();
        // At half the speed the grace lasts for twice its time.
        assert!((76_000..=84_000).contains(&came), "{came}");
        let came = bring(64 << 20, 256.0 * 1024.0, 16 * 1024).unwrap();
        assert!(
            ((16 << 20)..(24 << 20)).contains(&came),
            "the more is held, the faster it must come: {came}"
        );
    }

    #[test]
    fn bytes_sent_at_once_buy_no_longer_pause() {
        let mut pace = Pace::new(Speed::default());
        pace.came((1 << 20) - 1, (1 << 20) - 1);
        assert_eq!(pace.left(), Duration::from_secs(5));
        pace.waited(Duration::from_secs(4));
        assert_eq!(pace.left(), Duration::from_secs(1));
        pace.waited(Duration::from_secs(9));
        assert_eq!(pace.left(), Duration::ZERO);
    }
}
