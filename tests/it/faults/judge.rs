//! The judge: given what was promised, what the feed says and what came where and when, says what is wrong, and counts.
//! Values in, values out; refuses to know how any of it was found.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Fact;
use super::receivers::Hearing;

/// An event as the feed shows it; its place in the feed is its order.
#[derive(Clone, Debug)]
pub struct Told {
    pub fact: Fact,
    /// The batch that it names.
    pub batch: Option<String>,
}

/// An endpoint of which is known what it has to hear.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// By the path of its URL.
    pub path: String,
    pub dialect: String,
    /// It hears of this batch alone.
    pub batch: Option<String>,
    /// What the books say that it was owed in all.
    pub owed: usize,
    /// And what of it was delivered.
    pub delivered: usize,
}

impl Endpoint {
    /// Whether it is told of an event.
    pub fn hears(&self, told: &Told) -> bool {
        let kind = told.fact.kind.as_str();
        let is_said = match self.dialect.as_str() {
            "standard" => true,
            "voicegenie" => kind.starts_with("call.") && !matches!(kind, "call.requested" | "call.updated"),
            "aloro" => matches!(kind, "call.ended" | "call.failed"),
            "dialgen" => matches!(kind, "call.ended" | "call.failed" | "batch.completed" | "batch.failed"),
            other => panic!("the judge does not know what {other} says"),
        };
        is_said && (self.batch.is_none() || self.batch == told.batch)
    }
}

/// Deliveries, by endpoint and event.
pub type Deliveries = HashSet<(String, Fact)>;

/// All that is known when everything owed has been delivered.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Answered 200.
    pub accepted: Vec<Fact>,
    /// Answered 202: id and number of contacts.
    pub batches: Vec<(String, usize)>,
    /// The whole feed, in its order.
    pub feed: Vec<Told>,
    pub endpoints: Vec<Endpoint>,
    /// Everything that came, in its order.
    pub hearings: Vec<Hearing>,
    /// What was on its way when each fault struck: what receivers had heard, and had not refused, of deliveries that were
    /// still open in the books.
    pub in_flight: Vec<Deliveries>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Sentences; none when all is well.
    pub wrong: Vec<String>,
    /// Deliveries that were owed to the endpoints and came.
    pub delivered: usize,
    /// Endpoint and event of each request beyond one for each delivery and one for each refusal.
    pub again: Vec<(String, Fact)>,
}

/// All requests of one delivery, in their order.
type Requests<'a> = HashMap<(&'a str, &'a Fact), Vec<&'a Hearing>>;

/// Judges.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let mut requests: Requests<'_> = HashMap::new();
    for hearing in &evidence.hearings {
        requests.entry((&hearing.endpoint, &hearing.fact)).or_default().push(hearing);
    }
    nothing_is_missing(evidence, &requests, &mut verdict);
    batches_end_once(evidence, &mut verdict);
    calls_are_in_order(evidence, &requests, &mut verdict);
    duplicates_were_in_flight(evidence, &requests, &mut verdict);
    verdict
}

fn nothing_is_missing(evidence: &Evidence, requests: &Requests<'_>, verdict: &mut Verdict) {
    let mut times: HashMap<&Fact, usize> = HashMap::new();
    for told in &evidence.feed {
        *times.entry(&told.fact).or_default() += 1;
    }
    for fact in &evidence.accepted {
        match times.get(fact).copied().unwrap_or_default() {
            1 => {}
            0 => verdict.wrong.push(format!("{fact:?} was answered 200 and is not in the feed")),
            many => verdict.wrong.push(format!("{fact:?} is in the feed {many} times")),
        }
    }
    for endpoint in &evidence.endpoints {
        let path = endpoint.path.as_str();
        let owed: HashSet<&Fact> =
            evidence.feed.iter().filter(|told| endpoint.hears(told)).map(|told| &told.fact).collect();
        for fact in &owed {
            let came = requests.get(&(path, *fact));
            match came.is_some_and(|came| came.iter().any(|one| is_taken(one))) {
                true => verdict.delivered += 1,
                false => verdict.wrong.push(format!("{path} never took {fact:?}")),
            }
        }
        for (_, fact) in requests.keys().filter(|(at, fact)| *at == path && !owed.contains(fact)) {
            verdict.wrong.push(format!("{path} heard {fact:?}, which it was not owed"));
        }
        let books = (endpoint.owed, endpoint.delivered);
        if books != (owed.len(), owed.len()) {
            let wrong =
                format!("{path} was owed {}, and the books say {books:?} of owed and delivered", owed.len());
            verdict.wrong.push(wrong);
        }
    }
}

fn batches_end_once(evidence: &Evidence, verdict: &mut Verdict) {
    let count = |batch: &str, kind: &str| {
        let of = |told: &&Told| told.fact.kind == kind && told.batch.as_deref() == Some(batch);
        evidence.feed.iter().filter(of).count()
    };
    for (batch, contacts) in &evidence.batches {
        for (kind, expected) in [("call.requested", *contacts), ("batch.completed", 1), ("batch.failed", 0)] {
            let found = count(batch, kind);
            if found != expected {
                verdict.wrong.push(format!("{batch} has {kind} {found} times, not {expected}"));
            }
        }
    }
    // Whoever dedupes by the id of the event hears of each end once.
    let mut ids: BTreeMap<(&str, &Fact), HashSet<&str>> = BTreeMap::new();
    for hearing in &evidence.hearings {
        if let Some(id) = &hearing.id {
            ids.entry((&hearing.endpoint, &hearing.fact)).or_default().insert(id);
        }
    }
    for ((endpoint, fact), ids) in ids {
        if ids.len() > 1 {
            verdict.wrong.push(format!("{endpoint} heard {fact:?} under {} ids", ids.len()));
        }
    }
}

/// A call's next event comes only after the one before was taken.
fn calls_are_in_order(evidence: &Evidence, requests: &Requests<'_>, verdict: &mut Verdict) {
    for endpoint in &evidence.endpoints {
        let mut before: HashMap<&str, (&Fact, usize)> = HashMap::new();
        for told in evidence.feed.iter().filter(|told| endpoint.hears(told)) {
            let Some(came) = requests.get(&(endpoint.path.as_str(), &told.fact)) else { continue };
            let taken = came.iter().filter(|one| is_taken(one)).filter_map(|one| one.answered).min();
            if let Some((earlier, taken)) = before.get(told.fact.about.as_str())
                && came[0].came < *taken
            {
                verdict
                    .wrong
                    .push(format!("{} heard {:?} before it had {earlier:?}", endpoint.path, told.fact));
            }
            if let Some((taken, _)) = taken {
                before.insert(&told.fact.about, (&told.fact, taken));
            }
        }
    }
}

/// What came once more was in flight when a fault struck, and comes once more for each such fault at most.
fn duplicates_were_in_flight(evidence: &Evidence, requests: &Requests<'_>, verdict: &mut Verdict) {
    for ((endpoint, fact), came) in requests {
        let refused = came.iter().filter(|one| one.answered.is_some_and(|(_, status)| status != 200)).count();
        let again = came.len().saturating_sub(refused + 1);
        let key = ((*endpoint).to_owned(), (*fact).clone());
        let may = evidence.in_flight.iter().filter(|deliveries| deliveries.contains(&key)).count();
        verdict.again.extend(std::iter::repeat_n(key, again));
        if again > may {
            let faults = evidence.in_flight.len();
            verdict.wrong.push(format!(
                "{endpoint} heard {fact:?} {} times, {refused} refused: {again} too many; it was in flight in {may} of {faults} faults: {came:?}",
                came.len()
            ));
        }
    }
}

fn is_taken(hearing: &Hearing) -> bool {
    hearing.answered.is_some_and(|(_, status)| status == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(about: &str, kind: &str) -> Fact {
        Fact::new(about, kind)
    }

    /// One call and one batch, heard of as they should be: with a refusal, and once more after a fault.
    fn well() -> Evidence {
        let batch = Some("b".to_owned());
        let told =
            [("r", "call.requested"), ("c", "call.answered"), ("c", "call.ended"), ("b", "batch.completed")];
        let feed = told.map(|(about, kind)| Told { fact: fact(about, kind), batch: batch.clone() });
        let hearing = |at: usize, came: usize, status: u16| Hearing {
            endpoint: "standard".to_owned(),
            fact: feed[at].fact.clone(),
            id: Some(format!("evt_{at}")),
            came,
            answered: Some((came + 1, status)),
        };
        let hearings = [(0, 1, 200), (1, 3, 500), (1, 5, 200), (2, 7, 200), (2, 9, 200), (3, 11, 200)];
        let in_flight = [("standard".to_owned(), feed[2].fact.clone())].into();
        Evidence {
            accepted: vec![feed[1].fact.clone(), feed[2].fact.clone()],
            batches: vec![("b".to_owned(), 1)],
            endpoints: vec![Endpoint {
                path: "standard".to_owned(),
                dialect: "standard".to_owned(),
                batch: None,
                owed: 4,
                delivered: 4,
            }],
            in_flight: vec![in_flight],
            hearings: hearings.map(|(at, came, status)| hearing(at, came, status)).to_vec(),
            feed: feed.to_vec(),
        }
    }

    #[test]
    fn a_house_that_is_well_is_found_well() {
        let verdict = judge(&well());
        assert_eq!(verdict.wrong, [""; 0]);
        assert_eq!((verdict.delivered, verdict.again.len()), (4, 1));
    }

    #[test]
    fn everything_that_can_be_wrong_is_found() {
        type Spoil = fn(&mut Evidence);
        let spoilt: [(&str, Spoil); 12] = [
            ("is not in the feed", |all| all.accepted.push(fact("lost", "call.ended"))),
            ("is in the feed 2 times", |all| all.feed.push(all.feed[2].clone())),
            ("never took", |all| all.hearings.retain(|one| one.fact.kind != "call.answered")),
            ("never took", |all| all.hearings.retain(|one| one.came != 5)),
            ("never took", |all| all.hearings[5].answered = None),
            ("not owed", |all| all.hearings[5].fact = fact("nobody", "call.ended")),
            ("the books say (3, 3)", |all| (all.endpoints[0].owed, all.endpoints[0].delivered) = (3, 3)),
            ("the books say (4, 3)", |all| all.endpoints[0].delivered = 3),
            ("batch.completed 2 times", |all| all.feed.push(all.feed[3].clone())),
            ("call.requested 1 times, not 2", |all| all.batches[0].1 = 2),
            ("under 2 ids", |all| all.hearings[4].id = Some("evt_9".to_owned())),
            ("1 too many", |all| all.in_flight.clear()),
        ];
        for (expected, spoil) in spoilt {
            let mut evidence = well();
            spoil(&mut evidence);
            let wrong = judge(&evidence).wrong;
            assert!(wrong.iter().any(|sentence| sentence.contains(expected)), "{expected}: {wrong:?}");
        }
    }

    #[test]
    fn a_call_that_overtakes_itself_is_found() {
        // While the earlier one is refused, and while it is under way.
        for came in [4, 5] {
            let mut evidence = well();
            evidence.hearings[3].came = came;
            evidence.hearings.sort_by_key(|one| one.came);
            let wrong = judge(&evidence).wrong;
            assert!(wrong.iter().any(|sentence| sentence.contains("before it had")), "{wrong:?}");
        }
    }
}
