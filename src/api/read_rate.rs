//! How many bytes of bodies are read in a second. What a body holds is counted elsewhere; this bounds what reading costs
//! where bodies make way for each other as fast as they come. Does not depend on HTTP and on what is in a body.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::model::time::duration;

/// A rate that many readers share, who take turns in the order in which they ask.
#[derive(Debug)]
pub struct ReadRate {
    bytes_per_second: usize,
    /// When all that was paid for would have come at this rate. Its lock is the queue: it is fair, and who leaves it early
    /// leaves nothing behind.
    paid_until: Mutex<Instant>,
}

impl ReadRate {
    /// So many bytes in a second; after a pause, as many at once.
    pub fn new(bytes_per_second: usize) -> Self {
        let now = Instant::now();
        let before = now.checked_sub(Self::BURST).unwrap_or(now);
        Self { bytes_per_second: bytes_per_second.max(1), paid_until: Mutex::new(before) }
    }

    /// How much of the time before now may still be used.
    const BURST: Duration = Duration::from_secs(1);

    /// Waits until so many more bytes fit into the rate. Takes nothing when it is dropped before.
    pub async fn pay(&self, bytes: usize) {
        let mut paid_until = self.paid_until.lock().await;
        let now = Instant::now();
        let begin = (*paid_until).max(now.checked_sub(Self::BURST).unwrap_or(now));
        #[expect(clippy::cast_precision_loss, reason = "2^52 bytes of one body do not come")]
        let end = begin + duration(bytes as f64 / self.bytes_per_second as f64);
        if end > now {
            sleep_until(end).await;
        }
        *paid_until = end;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const KIB: usize = 1024;

    /// Readers that pay for `piece` bytes again and again. Gives what each has paid for.
    fn readers(rate: &Arc<ReadRate>, count: usize, piece: usize) -> Vec<Arc<AtomicUsize>> {
        let reader = |_| {
            let (rate, paid) = (Arc::clone(rate), Arc::new(AtomicUsize::new(0)));
            let counts = Arc::clone(&paid);
            tokio::spawn(async move {
                loop {
                    rate.pay(piece).await;
                    counts.fetch_add(piece, Ordering::Relaxed);
                }
            });
            paid
        };
        (0..count).map(reader).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_read_the_rate_is_kept_and_each_has_its_part() {
        let rate = Arc::new(ReadRate::new(1024 * KIB));
        rate.pay(1024 * KIB).await;
        let readers = readers(&rate, 64, 16 * KIB);
        tokio::time::sleep(Duration::from_millis(9_999)).await;
        let paid: Vec<usize> = readers.iter().map(|paid| paid.load(Ordering::Relaxed)).collect();
        let sum = paid.iter().sum::<usize>() / KIB;
        assert!((10 * 1024 - 16..=10 * 1024).contains(&sum), "what was at once was paid before: {sum} KiB");
        let (least, most) = (paid.iter().min().unwrap(), paid.iter().max().unwrap());
        assert!(most - least <= 16 * KIB, "{least} and {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_takes_nothing() {
        let rate = Arc::new(ReadRate::new(KIB));
        rate.pay(KIB).await;
        for _ in 0..1000 {
            let left = tokio::time::timeout(Duration::from_micros(10), rate.pay(1000 * KIB)).await;
            assert!(left.is_err());
        }
        let begin = Instant::now();
        rate.pay(KIB).await;
        assert!(begin.elapsed() <= Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}
