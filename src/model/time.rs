//! Points in time as vendors write them, and durations with their unit known.
//! Reads every form that a seed or a vendor uses; refuses to know what time it is now.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

/// A moment, to the microsecond (Air's `createdAt` has that many digits). Written as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// Before everything.
    pub const MIN: Self = Self(i64::MIN);

    /// Microseconds since 1970; this is also the form in the store.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Seconds since 1970; `None` outside the years that can be written (-9999 to 9999).
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        Timestamp::from_second(seconds).ok().map(Self::from)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whether it lies within the years that can be written (-9999 to 9999): every time that somebody said does.
    pub fn is_writable(self) -> bool {
        Timestamp::from_microsecond(self.0).is_ok()
    }

    /// This moment and `delay` later.
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339, PostgreSQL's text form (`2023-12-31 23:12:05.62705+00`, seed 004), RFC 2822 (Twilio),
    /// and epoch seconds or milliseconds as digits. `None` when it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(time) = parse_plain(text) {
            return Some(time);
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(Self::from(time));
        }
        if let Some(time) = parse_postgres(text) {
            return Some(time);
        }
        if let Ok(zoned) = rfc2822::DateTimeParser::new().parse_zoned(text) {
            return Some(Self::from(zoned.timestamp()));
        }
        text.parse::<i64>().ok().and_then(Self::from_epoch)
    }

    /// Reads an epoch number: from 10^11 on it is milliseconds (as seconds that would be the year 5138).
    pub fn from_epoch(number: i64) -> Option<Self> {
        if number.unsigned_abs() >= 100_000_000_000 {
            Timestamp::from_millisecond(number).ok().map(Self::from)
        } else {
            Self::from_seconds(number)
        }
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
    }

    /// RFC 3339 with whole seconds: `2024-01-16T10:35:00Z` (seeds 000 and 003).
    pub fn rfc3339_seconds(self) -> String {
        DateTimePrinter::new().precision(Some(0)).timestamp_to_string(&self.timestamp())
    }

    /// RFC 3339 with milliseconds: `2025-11-15T14:30:00.000Z` (seed 002).
    pub fn rfc3339_millis(self) -> String {
        DateTimePrinter::new().precision(Some(3)).timestamp_to_string(&self.timestamp())
    }

    /// PostgreSQL's text form in UTC, fraction without trailing zeros: `2023-12-31 23:12:05.62705+00` (seed 004).
    pub fn postgres(self) -> String {
        let text = self.timestamp().strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
        format!("{}+00", text.trim_end_matches('0').trim_end_matches('.'))
    }

    /// Whole seconds since 1970, for signatures.
    pub fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// `2024-01-16T10:35:00Z`, as most vendors write each turn: six numbers in fixed places. Only a short cut; what it does
/// not know it leaves to the others.
fn parse_plain(text: &str) -> Option<Time> {
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1, b'Z'] =
        text.as_bytes()
    else {
        return None;
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| byte.cast_signed() - b'0'.cast_signed());
    let two = |tens, ones| Some(digit(tens)? * 10 + digit(ones)?);
    let year = i16::from(two(y0, y1)?) * 100 + i16::from(two(y2, y3)?);
    let (month, day) = (two(m0, m1)?, two(d0, d1)?);
    let moment = DateTime::new(year, month, day, two(h0, h1)?, two(n0, n1)?, two(s0, s1)?, 0).ok()?;
    Offset::UTC.to_timestamp(moment).ok().map(Time::from)
}

/// `2023-12-31 23:12:05.62705+00`: a space for the T, and an offset that may lack its minutes.
fn parse_postgres(text: &str) -> Option<Time> {
    let (date, clock) = text.split_once(' ')?;
    let sign = clock.rfind(['+', '-'])?;
    let (clock, offset) = clock.split_at(sign);
    let offset = if offset.len() == 3 { format!("{offset}:00") } else { offset.to_owned() };
    format!("{date}T{clock}{offset}").parse::<Timestamp>().ok().map(Time::from)
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_microsecond())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&DateTimePrinter::new().timestamp_to_string(&self.timestamp()))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no timestamp"))
    }
}

/// A length of time of so many seconds, whatever the number is: nothing for what is negative or not a number, and the longest
/// there is for what is larger than that. `Duration`'s own conversions panic there.
pub fn duration(seconds: f64) -> Duration {
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) } else { Duration::ZERO }
}

/// A length of time to the millisecond; written in JSON as a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// From a number of seconds; `None` when negative, not finite, or longer than a thousand years.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        const LONGEST: f64 = 3.2e10;
        if !(0.0..LONGEST).contains(&seconds) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and LONGEST")]
        Some(Self((seconds * 1000.0).round() as u64))
    }

    /// The number of seconds as JSON writes it: `180`, `1.5`.
    pub fn seconds_json(self) -> String {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return whole.to_string();
        }
        format!("{whole}.{rest:03}").trim_end_matches('0').to_owned()
    }
}

impl Serialize for Millis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            return serializer.serialize_u64(self.0 / 1000);
        }
        serde_json::value::RawValue::from_string(self.seconds_json())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Self::from_seconds(seconds).ok_or_else(|| serde::de::Error::custom("no duration"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_short_cut_leads_where_the_road_does(
            year in "[0-9]{4}", numbers in prop::array::uniform5(0..70u8), odd in prop::option::of((0..20usize, any::<u8>())),
        ) {
            let [month, day, hour, minute, second] = numbers;
            for (month, day, hour) in [(month, day, hour), (month % 14, day % 34, hour % 26)] {
                let mut text = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z").into_bytes();
                if let Some((at, byte)) = odd {
                    text[at] = byte;
                }
                let Ok(text) = String::from_utf8(text) else { continue };
                let road = text.parse::<Timestamp>().ok().map(Time::from);
                if let Some(time) = parse_plain(&text) {
                    prop_assert_eq!(Some(time), road, "{}", text);
                } else if odd.is_none() && second < 60 {
                    prop_assert_eq!(None, road, "{}", text);
                }
            }
        }
    }

    #[test]
    fn every_form_that_vendors_write_is_read() {
        let expected = Time::parse("2023-12-31T23:12:05Z").unwrap();
        for text in [
            "2023-12-31T23:12:05.000Z",
            "2024-01-01T00:12:05+01:00",
            "2023-12-31 23:12:05+00",
            "2023-12-31 23:12:05.0+00:00",
            "Sun, 31 Dec 2023 23:12:05 +0000",
            "1704064325",
            "1704064325000",
        ] {
            assert_eq!(Time::parse(text), Some(expected), "{text}");
        }
        for text in ["", "yesterday", "2023-12-31", "2023-13-31T00:00:00Z", "00:03"] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_seed_gets_its_own_form_back() {
        let time = Time::parse("2023-12-31 23:12:05.62705+00").unwrap();
        assert_eq!(time.postgres(), "2023-12-31 23:12:05.62705+00");
        assert_eq!(time.rfc3339_millis(), "2023-12-31T23:12:05.627Z");
        assert_eq!(time.rfc3339_seconds(), "2023-12-31T23:12:05Z");
        assert_eq!(Time::parse("2024-01-16T10:35:00Z").unwrap().postgres(), "2024-01-16 10:35:00+00");
    }

    #[test]
    fn durations_print_as_short_as_they_can() {
        for (seconds, text) in [(180.0, "180"), (1.5, "1.5"), (0.25, "0.25"), (0.0, "0")] {
            assert_eq!(Millis::from_seconds(seconds).unwrap().seconds_json(), text);
        }
        assert_eq!(Millis::from_seconds(-1.0), None);
        assert_eq!(Millis::from_seconds(f64::NAN), None);
    }
}
