//! What the demo shows in the end: a line for each receiver, the sums of the books, and what is missing for a proof.
//! Pure; refuses to know how the numbers came about.

use std::time::Duration;

use super::dialer::sending::Tally;
use super::receivers::Count;
use super::simulate::milliseconds;
use super::table;

/// The books of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// All deliveries ever planned.
    pub owed: u64,
    /// Of them proven delivered.
    pub delivered: u64,
    /// Still to be tried.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
    /// Called off.
    pub cancelled: u64,
}

impl Sum {
    fn holds(self) -> bool {
        self.owed == self.delivered + self.pending + self.dead + self.cancelled
    }
}

/// One endpoint with its receiver, and the vendor of the same dialect.
#[derive(Clone, Debug)]
pub struct Line {
    /// The dialect, and what is special.
    pub name: String,
    /// How the vendor of this dialect was answered; `None` where there is no such vendor.
    pub arrived: Option<Tally>,
    /// What the books say.
    pub sum: Sum,
    /// What the receiver says.
    pub count: Count,
}

/// Everything that the demo found.
#[derive(Clone, Debug)]
pub struct Report {
    /// One for each endpoint.
    pub lines: Vec<Line>,
    /// Bodies that no dialect could read.
    pub quarantined: u64,
    /// From the first call to the last settlement.
    pub took: Duration,
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let columns = ["dialect", "events in", "owed", "delivered", "verified", "retried", "p50", "p99"];
        let mut ways = table::new(&columns, 1);
        let columns = ["endpoint", "owed", "= delivered", "+ pending", "+ dead", "+ cancelled", ""];
        let mut books = table::new(&columns, 1);
        for Line { name, arrived, sum, count } in &self.lines {
            ways.add_row([
                name.clone(),
                arrived.as_ref().map_or("-".to_owned(), |tally| tally.accepted.to_string()),
                sum.owed.to_string(),
                sum.delivered.to_string(),
                count.verified.to_string(),
                count.requests.saturating_sub(count.verified).to_string(),
                milliseconds(&count.latency, 50.0),
                milliseconds(&count.latency, 99.0),
            ]);
            books.add_row([
                name.clone(),
                sum.owed.to_string(),
                sum.delivered.to_string(),
                sum.pending.to_string(),
                sum.dead.to_string(),
                sum.cancelled.to_string(),
                if sum.holds() { "holds" } else { "DOES NOT HOLD" }.to_owned(),
            ]);
        }
        let arrived = self.lines.iter().filter_map(|line| line.arrived.as_ref());
        let (events, owed): (u64, u64) =
            (arrived.map(|tally| tally.accepted).sum(), self.lines.iter().map(|line| line.sum.owed).sum());
        format!(
            "\n{}\nThe books:\n\n{}\n{events} events in, {owed} deliveries owed, {:.1} s from the first call to the last answer.",
            table::text(&ways),
            table::text(&books),
            self.took.as_secs_f64()
        )
    }

    /// What is missing for a proof that everything owed was delivered and verified; empty when nothing is.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.quarantined > 0 {
            missing.push(format!("{} bodies are in quarantine", self.quarantined));
        }
        for Line { name, arrived, sum, count } in &self.lines {
            for (what, times) in arrived.iter().flat_map(|tally| &tally.other) {
                missing.push(format!("the door of {name} answered {what} {times} times"));
            }
            if !sum.holds() {
                missing.push(format!("the sum of {name} does not hold"));
            }
            if sum.delivered != sum.owed {
                let Sum { owed, delivered, pending, dead, cancelled } = sum;
                missing.push(format!(
                    "{name} is owed {owed} and was delivered {delivered} ({pending} pending, {dead} dead, \
                     {cancelled} cancelled)"
                ));
            }
            if count.verified != sum.owed {
                missing.push(format!("{name} is owed {} and verified {}", sum.owed, count.verified));
            }
            if count.refused > 0 {
                missing.push(format!("{} requests to {name} did not verify", count.refused));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dialer::sending::micros;

    fn report(sum: Sum, verified: u64, refused: u64) -> Report {
        let count = Count { requests: verified + refused, verified, refused, latency: micros() };
        let line = Line { name: "air".to_owned(), arrived: None, sum, count };
        Report { lines: vec![line], quarantined: 0, took: Duration::from_secs(1) }
    }

    #[test]
    fn only_what_is_delivered_and_verified_is_proven() {
        let all = Sum { owed: 3, delivered: 3, ..Sum::default() };
        assert!(report(all, 3, 0).missing().is_empty());
        assert_eq!(report(all, 2, 1).missing().len(), 2);
        let open = Sum { owed: 3, delivered: 2, pending: 1, ..Sum::default() };
        let found = report(open, 3, 0).missing();
        assert_eq!(found, ["air is owed 3 and was delivered 2 (1 pending, 0 dead, 0 cancelled)"]);
        let lost = Sum { owed: 3, delivered: 2, ..Sum::default() };
        assert!(report(lost, 3, 0).missing()[0].contains("does not hold"));
        let strange = Report { quarantined: 2, ..report(all, 3, 0) };
        assert_eq!(strange.missing(), ["2 bodies are in quarantine"]);
    }

    #[test]
    fn piped_it_is_plain_and_narrow() {
        let sum = Sum { owed: 12_345, delivered: 12_345, ..Sum::default() };
        let text = report(sum, 12_345, 0).text();
        assert!(text.lines().all(|line| line.is_ascii() && line.len() <= 100), "{text}");
    }
}
