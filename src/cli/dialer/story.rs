//! Made-up calls: who was called, what was said, how it ended. The same seed and number give the same call.
//! Refuses to know how any vendor writes it.

use std::borrow::Cow;

use fastrand::Rng;

use super::callee::Callee;
use crate::model::Time;

/// How a made-up call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A person talked.
    Completed,
    /// A machine took it.
    Voicemail,
    /// Nobody picked up.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// It could not be placed.
    Failed,
}

impl End {
    /// Whether anybody, or anything, picked up.
    pub fn was_answered(self) -> bool {
        matches!(self, Self::Completed | Self::Voicemail)
    }
}

/// One line of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whether the agent says it.
    pub is_agent: bool,
    /// What is said.
    pub text: String,
    /// How far into the conversation, in seconds.
    pub offset: u32,
}

/// One made-up call.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// 24 hex digits, unlike any other call's.
    pub id: String,
    /// The contact of a batch that it is for, if it is.
    pub callee: Option<Callee>,
    /// How it ends.
    pub end: End,
    /// The contact's full name.
    pub name: Cow<'static, str>,
    /// The contact's city.
    pub city: &'static str,
    /// Area code and the last two digits of the contact's number, from the block 555-01xx that nobody has.
    pub phone: (u32, u32),
    /// Number and name of the agent that calls.
    pub agent: (u32, &'static str),
    /// The campaign's number; some calls belong to none.
    pub campaign: Option<u32>,
    /// When it is placed.
    pub placed: Time,
    /// How long it rings, in seconds.
    pub ringing: u32,
    /// How long it lasts once picked up, in seconds; 0 when it is not.
    pub duration: u32,
    /// The conversation.
    pub lines: Vec<Line>,
    /// What an AI made of it.
    pub summary: String,
    /// Whether whoever stored the summary cut it in the middle of an emoji, as some vendors do.
    pub is_cut: bool,
    /// `positive`, `neutral` or `negative`.
    pub sentiment: &'static str,
    /// In percent.
    pub confidence: u32,
    /// 0 to 100.
    pub score: u32,
    /// What came of it: `Demo Scheduled`.
    pub result: &'static str,
    /// Whether the recording or the analysis is ready only later.
    pub is_late: bool,
}

const NAMES: [(&str, &str); 12] = [
    ("John Smith", "New York"),
    ("Zoë O'Brien", "São Paulo"),
    ("María José Núñez", "Sevilla"),
    ("李小龍", "香港"),
    ("Łukasz Żak", "Łódź"),
    ("Priya \"PK\" Krishnan", "Bengaluru"),
    ("محمد علي", "القاهرة"),
    ("Jean-François Lefèvre", "Québec"),
    ("Søren Ørsted", "Århus"),
    ("Tyler \\ Co", "Austin"),
    ("Anna <anna@example.com>", "Oslo"),
    ("佐藤 花子", "東京"),
];

const AGENTS: [(u32, &str); 3] = [(25_673, "Alex"), (25_674, "Customer Support"), (31_002, "Mía 🤖")];

const AREAS: [u32; 5] = [212, 415, 512, 617, 808];

struct Script {
    lines: &'static [(&'static str, &'static str)],
    summary: &'static str,
    sentiment: &'static str,
    result: &'static str,
}

const SCRIPTS: [Script; 5] = [
    Script {
        lines: &[
            ("Hi {name}, this is {agent}. Is this a good time?", "Sure, go ahead 🙂"),
            ("Would Tuesday at 10:00 suit you for a demo?", "Tuesday is fine. At 10:30, please."),
            ("Done: Tuesday, 10:30. You get an invitation by mail.", "Great, thanks! 👍🏽"),
        ],
        summary: "Scheduled a product demo for Tuesday 10:30; {name} asked for an invitation by mail 📅",
        sentiment: "positive",
        result: "Demo Scheduled",
    },
    Script {
        lines: &[
            ("Hello! How can I help you today?", "I need to check my order status."),
            ("Of course. What is the order number?", "It's ORD-12345… or was it \"12346\"?"),
            ("Order 12345 left our warehouse this morning.", "Good. Bye"),
        ],
        summary: "{name} inquired about order status:\n- order ORD-12345\n- shipped today 📦",
        sentiment: "neutral",
        result: "Issue Resolved",
    },
    Script {
        lines: &[
            ("Good afternoon {name}, I'm calling about your trial.", "How did you get this number?"),
            ("You left it when you signed up.", "Take me off your list.\nNow."),
        ],
        summary: "{name} does not want to be called again 😠",
        sentiment: "negative",
        result: "Do Not Call",
    },
    Script {
        lines: &[
            ("Hi, is this {name}?", "Yeah?"),
            ("Your subscription renews at 49.90 € on March 1st. Keep it?", "50/50… 100% if it's < 45 €"),
            ("I can offer 44.90 €.", "Deal 🤝"),
            ("Wonderful. Anything else?", "No\u{2028}that's it"),
        ],
        summary: "Renewed at 44.90 € instead of 49.90 €; {name} was close to leaving 💶",
        sentiment: "positive",
        result: "Renewed",
    },
    Script {
        lines: &[
            ("Namaste {name}, this is {agent} from the clinic.", "Ah yes, the appointment!"),
            ("Shall I confirm Friday at 9?", "Could you put me through to a person?"),
            ("Certainly, one moment.", "Thanks"),
        ],
        summary: "{name} wanted a person and was put through ☎️ → 🧑‍⚕️",
        sentiment: "neutral",
        result: "Callback Requested",
    },
];

/// Makes up call number `number` of a seed; calls follow each other by some seconds from `start` on.
pub fn story(seed: u64, number: u64, start: Time) -> Story {
    tell(seed, number, number, start, None)
}

/// Makes up a call to a contact of a batch, the same whichever calls come before it; `place` of them do.
pub fn story_of(seed: u64, callee: Callee, place: u64, start: Time) -> Story {
    tell(seed, callee.number(), place, start, Some(callee))
}

fn tell(seed: u64, number: u64, place: u64, start: Time, callee: Option<Callee>) -> Story {
    // A generator for each call: a call is the same however many others there are.
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
    let id = format!("{:08x}{:016x}", rng.u32(..), rng.u64(..));
    let end = match rng.u32(..100) {
        0..62 => End::Completed,
        62..78 => End::NoAnswer,
        78..88 => End::Voicemail,
        88..95 => End::Busy,
        _ => End::Failed,
    };
    let (made_up, city) = *choose(&mut rng, &NAMES);
    let known = callee.as_ref().and_then(|callee| callee.name.clone());
    let name: Cow<'static, str> = known.map_or(made_up.into(), Cow::from);
    let agent = *choose(&mut rng, &AGENTS);
    let script = choose(&mut rng, &SCRIPTS);
    let fill = |text: &str| text.replace("{name}", &name).replace("{agent}", agent.1);
    let mut lines = Vec::new();
    let mut offset = 0;
    for (agents, contacts) in script.lines.iter().take(if end == End::Completed { usize::MAX } else { 0 }) {
        for (is_agent, text) in [(true, agents), (false, contacts)] {
            lines.push(Line { is_agent, text: fill(text), offset });
            offset += rng.u32(2..9);
        }
    }
    if end == End::Voicemail {
        lines.push(Line { is_agent: true, text: fill("Hi {name}, please call us back."), offset: 4 });
        offset = 9;
    }
    let seconds = place.wrapping_mul(7).wrapping_add(rng.u64(..5));
    let summary = fill(script.summary);
    Story {
        id,
        callee,
        end,
        name,
        city,
        phone: (*choose(&mut rng, &AREAS), rng.u32(..100)),
        agent,
        campaign: (rng.u32(..4) > 0).then(|| rng.u32(1..4)),
        placed: start.after(std::time::Duration::from_secs(seconds)),
        ringing: rng.u32(1..25),
        duration: if end.was_answered() { offset + rng.u32(1..6) } else { 0 },
        lines,
        summary,
        is_cut: rng.u32(..20) == 0,
        sentiment: script.sentiment,
        confidence: rng.u32(50..=100),
        score: rng.u32(..=100),
        result: script.result,
        is_late: rng.u32(..5) == 0,
    }
}

fn choose<'a, T>(rng: &mut Rng, among: &'a [T]) -> &'a T {
    &among[rng.usize(..among.len())]
}
