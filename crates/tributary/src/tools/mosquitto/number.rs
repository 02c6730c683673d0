//! Numbers on the command line, read as C's `atoi`, `atol`, `atof` and `strtol` read them.

/// A decimal integer at the start of `text`, held inside 32 bits; 0 when there is none.
pub fn integer(text: &str) -> i32 {
    i32::try_from(long(text)).unwrap_or(if text.trim_start().starts_with('-') { i32::MIN } else { i32::MAX })
}

/// A decimal integer at the start of `text`, held inside 64 bits; 0 when there is none.
pub fn long(text: &str) -> i64 {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.bytes().take_while(u8::is_ascii_digit);
    let value = digits.fold(0i64, |n, d| n.saturating_mul(10).saturating_add(i64::from(d - b'0')));
    if negative { -value } else { value }
}

/// A decimal fraction at the start of `text`; 0 when there is none.
pub fn decimal(text: &str) -> f64 {
    let text = text.trim_start();
    // The longest beginning that is a number.
    (1..=text.len())
        .rev()
        .filter(|end| text.is_char_boundary(*end))
        .find_map(|end| text.get(..end)?.parse::<f64>().ok().filter(|n| !n.is_nan()))
        .unwrap_or(0.0)
}

/// The whole of `text` as a number in decimal, hexadecimal (`0x`) or octal (`0`).
pub fn any_base(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(rest) => (16, rest),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    // Too long for 64 bits is out of any range that is asked for.
    let value = i64::from_str_radix(digits, base).unwrap_or(i64::MAX);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, expected) in
            [("12", 12), (" -3x", -3), ("+7", 7), ("x", 0), ("", 0), ("99999999999", i32::MAX)]
        {
            assert_eq!(integer(text), expected, "{text:?}");
        }
        for (text, expected) in [("0.5", 0.5), ("2s", 2.0), ("x", 0.0), ("1e1", 10.0), ("-1", -1.0)] {
            assert!((decimal(text) - expected).abs() < 1e-9, "{text:?}");
        }
        for (text, expected) in [
            ("10", Some(10)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("-1", Some(-1)),
            ("1x", None),
            ("", None),
            ("0", Some(0)),
        ] {
            assert_eq!(any_base(text), expected, "{text:?}");
        }
    }
}
