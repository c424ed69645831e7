//! What has to hold beside an attack, and whether it does. Pure: figures in, sentences out.

use super::honest::Window;

/// The 99th percentile may be so many times what it is without the attack ...
const TIMES: f64 = 3.0;
/// ... or so many milliseconds more, whichever is larger.
const MORE: f64 = 50.0;
/// The most memory of the server, in megabytes.
pub const MOST_MEMORY: f64 = 300.0;

/// The most that a percentile may be, in milliseconds, by what it is without the attack.
fn bound(without: f64) -> f64 {
    (without * TIMES).max(without + MORE)
}

/// Every criterion that is missed, in words.
pub fn missed(without: &Window, with: &Window, memory: f64) -> Vec<String> {
    let mut missed = Vec::new();
    let ways = [
        ("ingest", without.ingest.p99, with.ingest.p99),
        ("to the receiver", without.delivered.p99, with.delivered.p99),
    ];
    for (way, without, with) in ways {
        if with > bound(without) {
            missed.push(format!("p99 {way}: {with:.1} ms, at most {:.1} ms", bound(without)));
        }
    }
    for probe in &with.probes {
        if probe.unanswered > 0 {
            let (what, all) = (&probe.what, probe.made);
            missed.push(format!("{} of {all} times {what} was not answered", probe.unanswered));
        }
    }
    if with.refused() > 0 {
        missed.push(format!("{} of {} honest events were not accepted", with.refused(), with.sent));
    }
    if with.lost > 0 {
        missed.push(format!("{} accepted events did not reach the receiver", with.lost));
    }
    if memory >= MOST_MEMORY {
        missed.push(format!("{memory:.0} MB of memory, less than {MOST_MEMORY:.0} MB"));
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::super::honest::Probe;
    use super::*;
    use crate::lateness::Quantiles;

    fn window(ingest: f64, delivered: f64) -> Window {
        let quantiles = |p99| Quantiles { p50: 1.0, p99 };
        let probe = Probe { what: "GET /healthz".to_owned(), made: 10, unanswered: 0 };
        Window {
            ingest: quantiles(ingest),
            delivered: quantiles(delivered),
            sent: 100,
            answers: [("200".to_owned(), 100)].into(),
            lost: 0,
            probes: vec![probe],
        }
    }

    #[test]
    fn three_times_or_fifty_milliseconds_more_are_allowed() {
        let without = window(2.0, 40.0);
        assert_eq!(missed(&without, &window(52.0, 120.0), 299.0), [""; 0]);
        assert_eq!(
            missed(&without, &window(52.1, 120.1), 299.0),
            ["p99 ingest: 52.1 ms, at most 52.0 ms", "p99 to the receiver: 120.1 ms, at most 120.0 ms"]
        );
    }

    #[test]
    fn nothing_honest_is_refused_lost_or_left_without_an_answer() {
        let mut with = window(2.0, 4.0);
        with.answers = [("200".to_owned(), 98), ("503".to_owned(), 2)].into();
        with.lost = 1;
        with.probes[0].unanswered = 3;
        let missed = missed(&window(2.0, 4.0), &with, 300.0);
        assert_eq!(
            missed,
            [
                "3 of 10 times GET /healthz was not answered",
                "2 of 100 honest events were not accepted",
                "1 accepted events did not reach the receiver",
                "300 MB of memory, less than 300 MB"
            ]
        );
    }
}
