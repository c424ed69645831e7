//! Numbers as vendors write them, as whole numbers of a small unit: sums of them are exact in any order, which sums of
//! floats are not. Refuses to know what is counted.

use super::json::Raw;

/// The most digits that are read; more would not fit into an `i64` whatever they are.
const MOST_DIGITS: usize = 18;

/// A JSON number, or digits in a JSON string, as a whole number of `10^-places`, rounded half away from zero. `None` when
/// it is no number, or too large.
pub fn scale(value: &Raw, places: u32) -> Option<i64> {
    let token = value.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value.get());
    scale_text(token.trim(), places)
}

fn scale_text(text: &str, places: u32) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let shift = i64::from(exponent) + i64::from(places) - i64::try_from(fraction.len()).ok()?;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    if shift >= 0 {
        let zeros = usize::try_from(shift).ok()?;
        if digits.len().saturating_add(zeros) > MOST_DIGITS {
            return None;
        }
        return format!("{digits}{}", "0".repeat(zeros)).parse::<i64>().ok().map(|units| sign * units);
    }
    let dropped = usize::try_from(-shift).ok()?;
    let Some(kept) = digits.len().checked_sub(dropped) else { return Some(0) };
    if kept > MOST_DIGITS {
        return None;
    }
    let units: i64 = if kept == 0 { 0 } else { digits[..kept].parse().ok()? };
    let rounds_up = digits.as_bytes()[kept] >= b'5';
    Some(sign * (units + i64::from(rounds_up)))
}

/// A whole number of `10^-places` as a JSON number, as short as it can be: `0.45`, `85`.
pub fn show(units: i64, places: u32) -> Raw {
    let scale = 10_u64.pow(places);
    let (whole, rest) = (units.unsigned_abs() / scale, units.unsigned_abs() % scale);
    let sign = if units < 0 { "-" } else { "" };
    let fraction = format!("{rest:0width$}", width = usize::try_from(places).unwrap_or(0));
    let fraction = fraction.trim_end_matches('0');
    let text = match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    };
    Raw::parse(&text).expect("a sign and digits are a JSON number")
}

/// `part / whole` in units of `10^-places`, rounded half up; `None` when there is nothing to divide by.
pub fn ratio(part: i64, whole: i64, places: u32) -> Option<i64> {
    if whole <= 0 {
        return None;
    }
    let (part, whole) = (i128::from(part) * 10_i128.pow(places), i128::from(whole));
    i64::try_from((2 * part + whole).div_euclid(2 * whole)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_units_without_a_float() {
        let scaled = |text| scale(&Raw::parse(text).unwrap(), 6);
        for (text, units) in [
            ("0.45", 450_000),
            ("0.30", 300_000),
            ("-1.5", -1_500_000),
            ("85", 85_000_000),
            ("1e-3", 1_000),
            ("1.25E1", 12_500_000),
            ("0.0000005", 1),
            ("0.00000049", 0),
            ("\"0.25\"", 250_000),
            ("0", 0),
            ("0e99", 0),
            ("1e-400", 0),
            ("123456789012345678901234567890e-24", 123_456_789_012),
        ] {
            assert_eq!(scaled(text), Some(units), "{text}");
        }
        for text in ["\"free\"", "null", "true", "[1]", "1e400", "12345678901234567890", "\"\"", "\".\""] {
            assert_eq!(scaled(text), None, "{text}");
        }
    }

    #[test]
    fn units_are_shown_as_short_as_they_can_be() {
        for (units, places, text) in [
            (450_000, 6, "0.45"),
            (85_500, 3, "85.5"),
            (-5, 1, "-0.5"),
            (0, 6, "0"),
            (7, 0, "7"),
            (1, 6, "0.000001"),
        ] {
            assert_eq!(show(units, places).get(), text);
        }
        assert_eq!((ratio(2, 3, 4), ratio(1, 8, 2), ratio(1, 0, 2)), (Some(6667), Some(13), None));
        assert_eq!(ratio(-1, 2, 0), Some(0));
    }
}
