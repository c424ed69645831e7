//! The benchmark's clock: microseconds that mean the same in every process of this machine and never step, so that
//! the sink can say how late a call is that another process had to send. Refuses to know the date.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine started.
pub fn now() -> u64 {
    micros(ClockId::Monotonic)
}

/// Microseconds of CPU that this process has used, all threads together.
pub fn cpu_used() -> u64 {
    micros(ClockId::ProcessCPUTime)
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let part = |number: i64, scale: u64| u64::try_from(number).unwrap_or_default() * scale;
    part(time.tv_sec, 1_000_000) + part(time.tv_nsec, 1) / 1000
}

/// Microseconds as milliseconds.
pub fn millis(micros: u64) -> f64 {
    seconds(micros) * 1e3
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// How many a second that is.
pub fn rate(count: u64, micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
    let count = count as f64;
    count / seconds(micros.max(1))
}
