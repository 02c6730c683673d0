/// Milliseconds of a duration as ISO 8601 and Java write it (`P1DT2H3M4.5S`); `None` for what is none, and for negative
/// ones.
pub fn duration_ms(text: &str) -> Option<i64> {
    let upper = text.trim().to_ascii_uppercase();
    let body = upper.strip_prefix('P')?;
    let (days, time) = match body.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (body, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    let mut add = |part: Option<i64>, unit_ms: i64| -> Option<()> {
        total = total.checked_add(part?.checked_mul(unit_ms)?)?;
        Some(())
    };
    if !days.is_empty() {
        add(whole(days.strip_suffix('D')?), 86_400_000)?;
    }
    let mut rest = time;
    for (unit, unit_ms) in [('H', 3_600_000), ('M', 60_000)] {
        if let Some((number, after)) = rest.split_once(unit) {
            add(whole(number), unit_ms)?;
            rest = after;
        }
    }
    if !rest.is_empty() {
        let seconds = rest.strip_suffix('S')?;
        let (seconds, fraction) = seconds.split_once(['.', ',']).unwrap_or((seconds, ""));
        add(whole(seconds), 1_000)?;
        if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
        add(whole(&millis), 1)?;
    }
    Some(total)
}

fn whole(digits: &str) -> Option<i64> {
    let all = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::duration_ms;

    #[test]
    fn durations_as_java_reads_them() {
        for (text, ms) in [
            ("PT0S", 0),
            ("PT1H", 3_600_000),
            ("P1D", 86_400_000),
            ("P2DT3H4M5.678S", 2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5_678),
            ("pt15m", 900_000),
            ("PT0.5S", 500),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in
            ["", "P", "PT", "1H", "PT-1H", "-PT1H", "P1H", "PT1D", "PTS", "PT1.S2", "PT99999999999999999H"]
        {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }
}
