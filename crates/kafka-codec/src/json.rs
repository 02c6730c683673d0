//! Messages as JSON, the way Kafka's own tools show what stands in logs.

use std::fmt::{Display, Write as _};

/// A message that can be shown as JSON.
pub trait JsonMessage {
    /// Appends the message with the fields that `version` has: names in camel case, ids as Kafka prints them, bytes
    /// in base64, tagged fields only when they do not hold their default.
    fn write_json(&self, out: &mut String, version: i16);
}

/// Appends a field's name, after a comma when it is not the first.
pub(crate) fn key(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    let _ = write!(out, "\"{name}\":");
}

/// Appends a number or a truth value.
pub(crate) fn plain(out: &mut String, value: &impl Display) {
    let _ = write!(out, "{value}");
}

/// Appends a floating-point number, always with a point or an exponent.
pub(crate) fn float(out: &mut String, value: f64) {
    let _ = write!(out, "{value:?}");
}

pub(crate) fn null(out: &mut String) {
    out.push_str("null");
}

/// Appends a text.
pub(crate) fn string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends bytes in base64, in quotes.
pub fn bytes(out: &mut String, value: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push('"');
    for chunk in value.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4u32 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            let used = at as usize <= chunk.len();
            out.push(if used { DIGITS.get(digit as usize).map_or('=', |d| char::from(*d)) } else { '=' });
        }
    }
    out.push('"');
}

/// Appends a list.
pub(crate) fn array<T>(out: &mut String, values: &[T], mut element: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        element(out, value);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uuid;
    use crate::messages::{OffsetCommitValue, TopicRecord};

    fn check(message: &impl JsonMessage, version: i16, expected: &str) {
        let mut out = String::new();
        message.write_json(&mut out, version);
        assert_eq!(out, expected);
    }

    #[test]
    fn fields_of_the_version_in_their_order() {
        let record =
            TopicRecord { name: "a\"b".to_owned(), topic_id: Uuid::METADATA_TOPIC, ..Default::default() };
        check(&record, 0, r#"{"name":"a\"b","topicId":"AAAAAAAAAAAAAAAAAAAAAQ"}"#);
        let value = OffsetCommitValue { offset: 7, metadata: "m".to_owned(), ..Default::default() };
        check(&value, 3, r#"{"offset":7,"leaderEpoch":-1,"metadata":"m","commitTimestamp":0}"#);
        check(&value, 0, r#"{"offset":7,"metadata":"m","commitTimestamp":0}"#);
    }

    #[test]
    fn bytes_are_base64() {
        for (value, expected) in [
            ("", "\"\""),
            ("f", "\"Zg==\""),
            ("fo", "\"Zm8=\""),
            ("foo", "\"Zm9v\""),
            ("foob", "\"Zm9vYg==\""),
        ] {
            let mut out = String::new();
            bytes(&mut out, value.as_bytes());
            assert_eq!(out, expected);
        }
    }
}
