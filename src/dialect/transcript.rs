//! Transcripts from one shape to another: turns, one string with a speaker before each line, times and offsets.
//! What a vendor wrote is kept as it is; only a shape that it did not write is made from the others.
//! Refuses to know in which member of a body a transcript stands.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::model::call::{ASSISTANT, Call, Turn, USER};
use crate::model::text::Text;
use crate::model::time::Millis;
use crate::model::{Object, Time};

/// Who speaks when nothing tells.
const UNKNOWN: &str = "unknown";

/// How a dialect calls the two who talk.
#[derive(Clone, Copy, Debug)]
pub struct Speakers {
    /// The machine.
    pub assistant: &'static str,
    /// The person.
    pub user: &'static str,
}

impl Speakers {
    /// This dialect's word for a canonical role; other roles keep the vendor's word.
    pub fn name<'a>(&self, role: &'a Text) -> Speaker<'a> {
        if *role == *ASSISTANT {
            Speaker::Known(self.assistant)
        } else if *role == *USER {
            Speaker::Known(self.user)
        } else {
            Speaker::Other(role)
        }
    }
}

/// What a speaker is called.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Speaker<'a> {
    /// In the dialect's word.
    Known(&'static str),
    /// In the vendor's.
    Other(&'a Text),
}

impl Speaker<'_> {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Known(word) => word.as_bytes(),
            Self::Other(word) => word.as_bytes(),
        }
    }
}

/// The canonical role for a vendor's word.
pub fn role(word: Text) -> Text {
    match known_role(word.as_bytes()) {
        Some(role) => Text::known(role),
        None => word,
    }
}

fn known_role(word: &[u8]) -> Option<&'static str> {
    let is = |known: &[&str]| known.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    if is(&["assistant", "ai", "agent", "bot"]) {
        Some(ASSISTANT)
    } else if is(&["user", "customer", "human", "caller"]) {
        Some(USER)
    } else {
        None
    }
}

/// Reads one element of a transcript array: `{role|speaker, content|text, timestamp}` and whatever else it has.
pub fn read_turn(mut element: Object<'_>) -> Turn {
    let speaker = take_text(&mut element, &["role", "speaker"]).unwrap_or_else(|| Text::known(UNKNOWN));
    let text = take_text(&mut element, &["content", "text"]).unwrap_or_default();
    let mut turn = Turn { role: role(speaker), text, ..Turn::default() };
    if let Some(token) = element.take("timestamp") {
        let written = token.written();
        // Neither a number nor a clock has a `T`; to try them first would cost as much as to read the time.
        let as_offset = |written: &str| match written.as_bytes().get(10) {
            Some(b'T') => None,
            _ => read_seconds(written).or_else(|| read_clock(written)),
        };
        if let Some(offset) = as_offset(&written) {
            turn.offset_seconds = Some(offset);
        } else if let Some(at) = Time::parse(&written) {
            turn.at = Some(at);
        } else {
            element.put("timestamp", token);
        }
    }
    turn.more = (&element).into();
    turn
}

fn take_text(element: &mut Object<'_>, keys: &[&str]) -> Option<Text> {
    for key in keys {
        if let Some(token) = element.take(key) {
            match token.text() {
                Some(text) => return Some(text),
                None => element.put(key, token),
            }
        }
    }
    None
}

/// Reads seconds from the start of the call. A number that as seconds of the epoch reaches 1973 is no offset but
/// a time.
fn read_seconds(number: &str) -> Option<Millis> {
    const FIRST_TIME: f64 = 1e8;
    let seconds = number.trim().parse().ok().filter(|&seconds| seconds < FIRST_TIME)?;
    Millis::from_seconds(seconds)
}

/// Reads `MM:SS` or `HH:MM:SS` from the start of the call.
pub fn read_clock(clock: &str) -> Option<Millis> {
    let (rest, seconds) = clock.trim().rsplit_once(':')?;
    let (hours, minutes) = rest.split_once(':').unwrap_or(("0", rest));
    let whole =
        |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?;
    let seconds: f64 = seconds.parse().ok().filter(|&seconds| (0.0..60.0).contains(&seconds))?;
    Millis::from_seconds(f64::from(whole(hours)?) * 3600.0 + f64::from(whole(minutes)?) * 60.0 + seconds)
}

/// Writes `MM:SS` (seed 003); minutes go on past 59.
pub fn clock(offset: Millis) -> String {
    let seconds = offset.0 / 1000;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// The turns of a call: those that came, else read from the one string that came.
pub fn turns(call: &Call) -> Cow<'_, [Turn]> {
    match (&call.transcript.turns, &call.transcript.text) {
        (Some(turns), _) if !turns.is_empty() => Cow::Borrowed(turns),
        (_, Some(text)) if !text.is_empty() => Cow::Owned(read_text(text).unwrap_or_else(|| {
            vec![Turn { role: Text::known(UNKNOWN), text: text.clone(), ..Turn::default() }]
        })),
        _ => Cow::Borrowed(&[]),
    }
}

/// When a turn was said: as it came, else its offset from the start of the call.
pub fn time_of(call: &Call, turn: &Turn) -> Option<Time> {
    turn.at.or_else(|| Some(call.started_at?.after(Duration::from_millis(turn.offset_seconds?.0))))
}

/// How far into the call a turn was said: as it came, else its time from the start of the call, or from the
/// first turn when the start is not known.
pub fn offset_of(call: &Call, turns: &[Turn], turn: &Turn) -> Option<Millis> {
    turn.offset_seconds.or_else(|| {
        let start = call.started_at.or_else(|| turns.first()?.at)?;
        Some(Millis(u64::try_from(turn.at?.since(start).as_millis()).unwrap_or(u64::MAX)))
    })
}

/// The transcript as one string in a dialect's shape. The vendor's own string stands when it has that shape, or
/// none that we know.
pub fn text_for(call: &Call, speakers: Speakers) -> Option<Cow<'_, Text>> {
    if let Some(text) = &call.transcript.text {
        let mut named = text.as_bytes().split(|&b| b == b'\n').filter_map(speaker_of).map(|(name, _)| name);
        let is_ours = |name: &[u8]| [speakers.assistant, speakers.user].iter().any(|s| s.as_bytes() == name);
        if named.all(is_ours) {
            return Some(Cow::Borrowed(text));
        }
    }
    let turns = turns(call);
    (!turns.is_empty()).then(|| Cow::Owned(print(&turns, speakers)))
}

/// One line a turn: `AI: Hello!` (seed 003), `BOT: Hello!` (seed 004). A turn may span lines.
fn print(turns: &[Turn], speakers: Speakers) -> Text {
    let mut out: Vec<u8> = Vec::new();
    for turn in turns {
        if !out.is_empty() {
            out.push(b'\n');
        }
        out.extend_from_slice(speakers.name(&turn.role).as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(turn.text.as_bytes());
    }
    Text::from_bytes(out)
}

/// Reads `BOT: ..` / `HUMAN: ..` lines (seed 004) and `AI: ..` / `Customer: ..` lines (seed 003). A line without
/// a speaker goes on with the turn before. `None` when no line names a speaker.
pub fn read_text(text: &Text) -> Option<Vec<Turn>> {
    let mut turns: Vec<(Option<&'static str>, Vec<u8>)> = Vec::new();
    for line in text.as_bytes().split(|&byte| byte == b'\n') {
        match (speaker_of(line), turns.last_mut()) {
            (Some((name, said)), _) => turns.push((known_role(name), said.to_vec())),
            (None, Some((_, said))) => {
                said.push(b'\n');
                said.extend_from_slice(line);
            }
            (None, None) => turns.push((None, line.to_vec())),
        }
    }
    turns.retain(|(role, said)| role.is_some() || !said.trim_ascii().is_empty());
    turns.iter().any(|(role, _)| role.is_some()).then(|| {
        let turn = |(role, said): (Option<&'static str>, Vec<u8>)| Turn {
            role: Text::known(role.unwrap_or(UNKNOWN)),
            text: Text::from_bytes(said.trim_ascii()),
            ..Turn::default()
        };
        turns.into_iter().map(turn).collect()
    })
}

/// The speaker that a line begins with, and the rest of the line.
fn speaker_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = line[..colon].trim_ascii();
    known_role(name).map(|_| (name, &line[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Raw;

    const AIR: Speakers = Speakers { assistant: "BOT", user: "HUMAN" };
    const ALORO: Speakers = Speakers { assistant: "AI", user: "Customer" };

    fn time(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn said(turns: &[Turn]) -> Vec<(String, String)> {
        turns.iter().map(|turn| (turn.role.to_string(), turn.text.to_string())).collect()
    }

    fn call_with_text(text: &str) -> Call {
        let mut call = Call::default();
        call.transcript.text = Some(Text::from(text));
        call
    }

    #[test]
    fn airs_string_is_read_with_turns_over_several_lines() {
        let text = "BOT: ~ \"Hey, Tyler!\nAre you there?\"\nHUMAN:  how's it going: fine?\r\nBOT: good";
        let turns = read_text(&Text::from(text)).unwrap();
        let expected = [
            ("assistant", "~ \"Hey, Tyler!\nAre you there?\""),
            ("user", "how's it going: fine?"),
            ("assistant", "good"),
        ];
        assert_eq!(said(&turns), expected.map(|(role, text)| (role.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_string_without_speakers_has_no_turns_of_its_own() {
        assert_eq!(read_text(&Text::from("They talked: about this and that.")), None);
        let call = call_with_text("They talked.");
        assert_eq!(said(&turns(&call)), [("unknown".to_owned(), "They talked.".to_owned())]);
        assert_eq!(text_for(&call, AIR).unwrap().to_str(), "They talked.");
    }

    #[test]
    fn lines_before_the_first_speaker_are_kept() {
        let turns = read_text(&Text::from("(beep)\nBOT: Hi")).unwrap();
        assert_eq!(said(&turns)[0], ("unknown".to_owned(), "(beep)".to_owned()));
    }

    #[test]
    fn the_same_shape_comes_out_as_it_came_in() {
        let text = "BOT: ~ \"Hi\"\nHUMAN:  spaces   kept ";
        let call = call_with_text(text);
        assert_eq!(text_for(&call, AIR).unwrap().to_str(), text);
        assert_eq!(text_for(&call, ALORO).unwrap().to_str(), "AI: ~ \"Hi\"\nCustomer: spaces   kept");
    }

    #[test]
    fn clocks_are_minutes_and_seconds() {
        for (clock, millis) in
            [("00:03", 3_000), ("61:05", 3_665_000), ("1:01:05", 3_665_000), ("0:01.5", 1_500)]
        {
            assert_eq!(read_clock(clock), Some(Millis(millis)), "{clock}");
        }
        for clock in ["", "5", "00:60", "-1:00", "a:b", "1:2:3:4", "00:-1", ":"] {
            assert_eq!(read_clock(clock), None, "{clock}");
        }
        assert_eq!(clock(Millis(3_665_900)), "61:05");
        assert_eq!(clock(Millis(0)), "00:00");
    }

    #[test]
    fn small_numbers_are_seconds_into_the_call() {
        let read = |timestamp: &str| {
            let raw =
                Raw::parse(&format!(r#"{{"role":"user","content":"Hi","timestamp":{timestamp}}}"#)).unwrap();
            let turn = read_turn(raw.as_object().unwrap());
            (turn.offset_seconds, turn.at)
        };
        for (written, millis) in
            [("0", 0), ("3", 3_000), ("12.5", 12_500), (r#""3""#, 3_000), ("99999999", 99_999_999_000)]
        {
            assert_eq!(read(written), (Some(Millis(millis)), None), "{written}");
        }
        assert_eq!(read("100000000"), (None, Some(time("1973-03-03T09:46:40Z"))));
        assert_eq!(read("1705401300"), (None, Some(time("2024-01-16T10:35:00Z"))));
        assert_eq!(read("1705401300000"), (None, Some(time("2024-01-16T10:35:00Z"))));
        assert_eq!(read("-3").0, None);
        assert_eq!(read(r#""NaN""#), (None, None));
    }

    #[test]
    fn offsets_and_times_turn_into_each_other() {
        let mut call = Call { started_at: Some(time("2024-03-15T14:27:00Z")), ..Call::default() };
        let at = Turn { at: Some(time("2024-03-15T14:27:07.5Z")), ..Turn::default() };
        let offset = Turn { offset_seconds: Some(Millis(7_500)), ..Turn::default() };
        assert_eq!(time_of(&call, &offset), at.at);
        assert_eq!(offset_of(&call, &[], &at), offset.offset_seconds);
        call.started_at = None;
        let first = Turn { at: Some(time("2024-03-15T14:27:05Z")), ..Turn::default() };
        assert_eq!(offset_of(&call, &[first, at.clone()], &at), Some(Millis(2_500)));
        assert_eq!(time_of(&call, &offset), None);
        assert_eq!(offset_of(&call, std::slice::from_ref(&offset), &at), None);
    }

    #[test]
    fn a_turn_keeps_what_nobody_knows() {
        let raw =
            Raw::parse(r#"{"role":"Agent","content":"Hi","timestamp":"soon","confidence":0.90}"#).unwrap();
        let turn = read_turn(raw.as_object().unwrap());
        assert_eq!((turn.role.to_str().as_ref(), turn.at, turn.offset_seconds), ("assistant", None, None));
        assert_eq!(serde_json::to_string(&turn.more).unwrap(), r#"{"confidence":0.90,"timestamp":"soon"}"#);
    }
}
