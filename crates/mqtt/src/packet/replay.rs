//! Replay: a subscription that begins in the past. `$replay/<start>/<filter>` for everyone; MQTT 5 clients may give the
//! start as a user property of SUBSCRIBE instead.

use client::door::StartAt;
use mqtt_codec::topic;

/// User property of SUBSCRIBE that says where its filters start.
pub(crate) const START: &str = "mqtt.start";
const PREFIX: &str = "$replay/";

/// A filter that asks for a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replay<'f> {
    /// The start as it was written.
    pub(crate) start: &'f str,
    /// What is behind it.
    pub(crate) filter: &'f str,
}

impl<'f> Replay<'f> {
    /// Takes `$replay/<start>/<filter>` apart; `None` = the filter is none of these.
    pub(crate) fn parse(text: &'f str) -> Option<Self> {
        let (start, filter) = text.strip_prefix(PREFIX)?.split_once('/').unwrap_or_default();
        Some(Self { start, filter })
    }

    /// The name under which the session keeps it, with the filter mounted.
    pub(crate) fn key(&self, mount: &str) -> String {
        format!("{PREFIX}{}/{mount}{}", self.start, self.filter)
    }
}

/// Whether a filter can be replayed: topics that begin with `$` are in no log.
pub(crate) fn is_replayable(filter: &str) -> bool {
    !filter.starts_with('$') && topic::validate_filter(filter).is_ok()
}

/// Where a start is: `earliest`, `latest`, `offset:N` (in every partition), a time as milliseconds since the epoch or
/// as RFC 3339 says, or a time ago: `-90s`, `-5m`, `-2h`, `-7d`.
pub(crate) fn start(text: &str, now_ms: i64) -> Option<StartAt> {
    match text {
        "earliest" => return Some(StartAt::Earliest),
        "latest" => return Some(StartAt::Latest),
        _ => {}
    }
    if let Some(offset) = text.strip_prefix("offset:") {
        return digits(offset).map(StartAt::Offset);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let unit = ago.chars().last()?;
        let unit_ms = match unit {
            's' => 1000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        let ago_ms = digits(ago.strip_suffix(unit)?)?.checked_mul(unit_ms)?;
        return Some(StartAt::Timestamp(now_ms.saturating_sub(ago_ms).max(0)));
    }
    digits(text).or_else(|| rfc3339(text)).map(StartAt::Timestamp)
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// `2026-11-26T10:00:00[.123]Z` or with an offset such as `+01:00`, as milliseconds since the epoch.
fn rfc3339(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize, min: i64, max: i64| {
        text.get(from..to).and_then(digits).filter(|n| (min..=max).contains(n))
    };
    let has = |at: usize, what: &[u8]| text.as_bytes().get(at).is_some_and(|b| what.contains(b));
    if !(has(4, b"-") && has(7, b"-") && has(10, b"Tt ") && has(13, b":") && has(16, b":")) {
        return None;
    }
    let (year, month) = (number(0, 4, 1970, 9999)?, number(5, 7, 1, 12)?);
    let month_days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let day = number(8, 10, 1, month_days)?;
    let (hour, minute, second) = (number(11, 13, 0, 23)?, number(14, 16, 0, 59)?, number(17, 19, 0, 60)?);
    let mut rest = text.get(19..)?;
    let mut fraction_ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.bytes().position(|b| !b.is_ascii_digit())?;
        let shown = fraction.get(..end).filter(|f| !f.is_empty())?;
        fraction_ms = digits(&format!("{shown:0<3}").chars().take(3).collect::<String>())?;
        rest = fraction.get(end..)?;
    }
    let east_minutes = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = match rest.chars().next()? {
                '+' => 1,
                '-' => -1,
                _ => return None,
            };
            let (hours, minutes) = rest.get(1..)?.split_once(':')?;
            let part = |t: &str, max: i64| digits(t).filter(|n| t.len() == 2 && *n <= max);
            sign * (part(hours, 23)? * 60 + part(minutes, 59)?)
        }
    };
    // Days from 1970-01-01, by years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 719_469;
    let seconds = days * 86_400 + hour * 3600 + (minute - east_minutes) * 60 + second;
    Some(seconds * 1000 + fraction_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn starts() {
        for (text, expected) in [
            ("earliest", Some(StartAt::Earliest)),
            ("latest", Some(StartAt::Latest)),
            ("offset:12", Some(StartAt::Offset(12))),
            ("0", Some(StartAt::Timestamp(0))),
            ("1700000000000", Some(StartAt::Timestamp(1_700_000_000_000))),
            ("-90s", Some(StartAt::Timestamp(NOW - 90_000))),
            ("-5m", Some(StartAt::Timestamp(NOW - 300_000))),
            ("-2h", Some(StartAt::Timestamp(NOW - 7_200_000))),
            ("-7d", Some(StartAt::Timestamp(NOW - 604_800_000))),
            ("1970-01-01T00:00:00Z", Some(StartAt::Timestamp(0))),
            ("2000-02-29T12:34:56.789Z", Some(StartAt::Timestamp(951_827_696_789))),
            ("2026-11-26T10:00:00+01:00", Some(StartAt::Timestamp(1_795_683_600_000))),
            ("2026-11-26T10:00:00.5-00:30", Some(StartAt::Timestamp(1_795_689_000_500))),
            ("", None),
            ("now", None),
            ("offset:", None),
            ("offset:-1", None),
            ("offset:99999999999999999999", None),
            ("-", None),
            ("-5", None),
            ("-5w", None),
            ("-\u{e9}", None),
            ("-999999999999999999d", None),
            ("2026-02-29T00:00:00Z", None),
            ("2026-11-26", None),
            ("2026-11-26T10:00:00", None),
            ("2026-11-26T10:00:00.Z", None),
            ("2026-11-26T10:00:00+1:00", None),
            ("2026-13-01T00:00:00Z", None),
        ] {
            assert_eq!(start(text, NOW), expected, "{text}");
        }
    }

    #[test]
    fn filters() {
        let parsed = Replay::parse("$replay/earliest/a/+/b").unwrap();
        assert_eq!((parsed.start, parsed.filter), ("earliest", "a/+/b"));
        assert_eq!(parsed.key("site/"), "$replay/earliest/site/a/+/b");
        assert_eq!(Replay::parse("a/b"), None);
        let empty = Replay { start: "", filter: "" };
        assert_eq!(Replay::parse("$replay/earliest"), Some(empty));
        assert!(
            is_replayable("#") && !is_replayable("") && !is_replayable("$SYS/#") && !is_replayable("a/#/b")
        );
    }
}
