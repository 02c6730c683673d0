//! Dates, times and durations as the tools write and read them: UTC, ISO 8601.

const MS_PER_DAY: i64 = 86_400_000;

/// `2026-01-31 23:59:59,123`, the time of a log line.
pub fn log_time(epoch_ms: i64) -> String {
    format(epoch_ms, "yyyy-MM-dd HH:mm:ss,SSS")
}

/// A time by a pattern of Java's `SimpleDateFormat`, of which the fields `yyyy MM dd HH mm ss SSS` are known and
/// the rest is taken as it stands.
pub fn format(epoch_ms: i64, pattern: &str) -> String {
    let (year, month, day) = date_of(epoch_ms.div_euclid(MS_PER_DAY));
    let in_day = epoch_ms.rem_euclid(MS_PER_DAY);
    let fields = [
        ("yyyy", year),
        ("MM", month),
        ("dd", day),
        ("HH", in_day / 3_600_000),
        ("mm", in_day / 60_000 % 60),
        ("ss", in_day / 1000 % 60),
        ("SSS", in_day % 1000),
    ];
    fields.iter().fold(pattern.to_owned(), |text, (field, value)| {
        let width = field.len();
        text.replace(field, &format!("{value:0width$}"))
    })
}

/// Reads `YYYY-MM-DDThh:mm:ss.sss`, optionally followed by `Z`, `±hh`, `±hhmm` or `±hh:mm` (without: UTC), into
/// milliseconds since the epoch.
///
/// # Errors
/// The text of Java's `ParseException`.
pub fn parse_datetime(text: &str) -> Result<i64, String> {
    let unparseable = || format!("Unparseable date: \"{text}\"");
    let Some((date, time)) = text.split_once('T') else {
        return Err(
            "Error parsing timestamp. It does not contain a 'T' according to ISO8601 format".to_owned()
        );
    };
    let zone_at = time.find(['+', '-', 'Z']).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(zone_at).ok_or_else(unparseable)?;
    let zone_minutes = parse_zone(zone).ok_or_else(unparseable)?;
    let numbers = |text: &str, separators: &[char]| -> Option<Vec<i64>> {
        text.split(separators)
            .map(|part| part.parse().ok().filter(|_| !part.starts_with(['+', '-'])))
            .collect()
    };
    let date = numbers(date, &['-']).ok_or_else(unparseable)?;
    let time = numbers(time, &[':', '.']).ok_or_else(unparseable)?;
    let (&[year, month, day], &[hours, minutes, seconds, millis]) = (date.as_slice(), time.as_slice()) else {
        return Err(unparseable());
    };
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0..60).contains(&seconds)
        && (0..=999_999).contains(&millis)
        && (0..=9999).contains(&year);
    if !in_range {
        return Err(unparseable());
    }
    let minutes = days_to(year, month, day) * 24 * 60 + hours * 60 + minutes - zone_minutes;
    Ok(minutes * 60_000 + seconds * 1000 + millis)
}

/// Minutes east of Greenwich.
fn parse_zone(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..)?.parse::<i64>().ok()?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes))
}

/// Reads an ISO 8601 duration of days and time (`P1DT2H3M4.5S`, each part may be negative) into milliseconds.
///
/// # Errors
/// The text of Java's `DateTimeParseException`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    duration_ms(text).ok_or_else(|| "Text cannot be parsed to a Duration".to_owned())
}

fn duration_ms(text: &str) -> Option<i64> {
    let upper = text.to_ascii_uppercase();
    let (negative, rest) = match upper.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total = 0.0f64;
    if !days.is_empty() {
        total += days.strip_suffix('D')?.parse::<i64>().ok()? as f64 * 86_400_000.0;
    }
    let mut number = String::new();
    let mut units = [('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)].iter();
    for c in time.chars() {
        if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') {
            number.push(c);
            continue;
        }
        // Units come in this order, each at most once.
        let (_, ms) = units.by_ref().find(|(unit, _)| *unit == c)?;
        if c != 'S' && number.contains('.') {
            return None;
        }
        total += number.parse::<f64>().ok()? * ms;
        number.clear();
    }
    if !number.is_empty() || total.abs() > 9.0e17 {
        return None;
    }
    let total = total.round() as i64;
    Some(if negative { -total } else { total })
}

/// Days from 1970-01-01 to the given date (proleptic Gregorian; after Howard Hinnant's `days_from_civil`).
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date that many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_times_are_utc() {
        assert_eq!(log_time(0), "1970-01-01 00:00:00,000");
        assert_eq!(log_time(1_709_210_096_789), "2024-02-29 12:34:56,789");
        assert_eq!(log_time(-1), "1969-12-31 23:59:59,999");
    }

    #[test]
    fn patterns_name_fields() {
        assert_eq!(format(1_709_210_096_789, "dd.MM.yyyy HH:mm:ss:SSS"), "29.02.2024 12:34:56:789");
    }

    #[test]
    fn datetimes_with_and_without_zone() {
        assert_eq!(parse_datetime("1970-01-01T00:00:00.000"), Ok(0));
        assert_eq!(parse_datetime("2024-02-29T12:34:56.789Z"), Ok(1_709_210_096_789));
        assert_eq!(parse_datetime("2024-02-29T14:34:56.789+02:00"), Ok(1_709_210_096_789));
        assert_eq!(parse_datetime("2024-02-29T07:04:56.789-0530"), Ok(1_709_210_096_789));
        assert_eq!(parse_datetime("2024-02-29T13:34:56.789+01"), Ok(1_709_210_096_789));
        assert!(parse_datetime("garbage").is_err_and(|e| e.contains("does not contain a 'T'")));
        assert_eq!(
            parse_datetime("2024-13-29T12:34:56.789"),
            Err("Unparseable date: \"2024-13-29T12:34:56.789\"".into())
        );
        assert!(parse_datetime("2024-02-29T12:34").is_err());
    }

    #[test]
    fn durations_as_java_reads_them() {
        assert_eq!(parse_duration("P1D"), Ok(86_400_000));
        assert_eq!(parse_duration("PT0S"), Ok(0));
        assert_eq!(parse_duration("P2DT3H4M5.5S"), Ok(183_845_500));
        assert_eq!(parse_duration("-PT6H"), Ok(-21_600_000));
        assert_eq!(parse_duration("PT-6H3M"), Ok(-21_420_000));
        for bad in ["", "foo", "P", "PT", "P1", "PT1", "PT1M1H", "P1Y", "1D", "PT1.5H"] {
            assert_eq!(parse_duration(bad), Err("Text cannot be parsed to a Duration".into()), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn dates_round_trip(day in -500_000i64..500_000) {
            let (y, m, d) = date_of(day);
            proptest::prop_assert_eq!(days_to(y, m, d), day);
        }

        #[test]
        fn never_panics(text in "\\PC*|[PTDHMSZ0-9.:+-]*") {
            let _ = (parse_datetime(&text), parse_duration(&text));
        }
    }
}
