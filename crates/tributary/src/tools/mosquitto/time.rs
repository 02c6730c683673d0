//! Local time and `strftime` in the C locale, for `-F`.
//!
//! The zone comes from `TZ` or `/etc/localtime` (RFC 8536 files, POSIX rules); without either it is UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment on the local clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds since 1970 in UTC.
    pub epoch: i64,
    /// Nanoseconds into the second.
    pub nanos: u32,
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    /// 0 = Sunday
    weekday: u32,
    /// 0 = 1 January
    yearday: u32,
    offset: i32,
    zone: String,
}

impl LocalTime {
    /// What the clock shows now in `zone`.
    pub fn now(zone: &Zone) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::at(zone, i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
    }

    /// What the clock in `zone` shows at a moment.
    pub fn at(zone: &Zone, epoch: i64, nanos: u32) -> Self {
        let (offset, name) = zone.at(epoch);
        let local = epoch.saturating_add(i64::from(offset));
        let days = local.div_euclid(86_400);
        let second_of_day = u32::try_from(local.rem_euclid(86_400)).unwrap_or(0);
        let (year, month, day) = civil(days);
        Self {
            epoch,
            nanos,
            year,
            month,
            day,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            weekday: u32::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
            yearday: u32::try_from(days - days_from_civil(year, 1, 1)).unwrap_or(0),
            offset,
            zone: name,
        }
    }

    /// One conversion of `strftime`, such as `H` for `%H`.
    pub fn format(&self, conversion: char) -> String {
        let day = DAYS.get(self.weekday as usize).copied().unwrap_or_default();
        let month = MONTHS.get((self.month as usize).wrapping_sub(1)).copied().unwrap_or_default();
        let hour12 = (self.hour + 11) % 12 + 1;
        let half = if self.hour < 12 { "AM" } else { "PM" };
        let (iso_year, iso_week) = self.iso_week();
        let short = |name: &'static str| name.get(..3).unwrap_or(name).to_owned();
        match conversion {
            'a' => short(day),
            'A' => day.to_owned(),
            'b' | 'h' => short(month),
            'B' => month.to_owned(),
            'c' => format!("{} {} {:2} {} {}", short(day), short(month), self.day, self.clock(), self.year),
            'C' => format!("{:02}", self.year.div_euclid(100)),
            'd' => format!("{:02}", self.day),
            'D' | 'x' => format!("{:02}/{:02}/{:02}", self.month, self.day, self.year.rem_euclid(100)),
            'e' => format!("{:2}", self.day),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'g' => format!("{:02}", iso_year.rem_euclid(100)),
            'G' => iso_year.to_string(),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{hour12:02}"),
            'j' => format!("{:03}", self.yearday + 1),
            'k' => format!("{:2}", self.hour),
            'l' => format!("{hour12:2}"),
            'm' => format!("{:02}", self.month),
            'M' => format!("{:02}", self.minute),
            'n' => "\n".to_owned(),
            'p' => half.to_owned(),
            'P' => half.to_lowercase(),
            'r' => format!("{hour12:02}:{:02}:{:02} {half}", self.minute, self.second),
            'R' => format!("{:02}:{:02}", self.hour, self.minute),
            's' => self.epoch.to_string(),
            'S' => format!("{:02}", self.second),
            't' => "\t".to_owned(),
            'T' | 'X' => self.clock(),
            'u' => (if self.weekday == 0 { 7 } else { self.weekday }).to_string(),
            'U' => format!("{:02}", (self.yearday + 7 - self.weekday) / 7),
            'V' => format!("{iso_week:02}"),
            'w' => self.weekday.to_string(),
            'W' => format!("{:02}", (self.yearday + 7 - (self.weekday + 6) % 7) / 7),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'Y' => self.year.to_string(),
            'z' => self.zone_offset(),
            'Z' => self.zone.clone(),
            '%' => "%".to_owned(),
            '+' | 'E' | 'O' => format!("%{conversion}"),
            other => format!("%{other}"),
        }
    }

    /// `2026-01-31T12:00:00+0100`
    pub fn iso(&self) -> String {
        format!("{}T{}{}", self.format('F'), self.clock(), self.zone_offset())
    }

    /// The same with microseconds and a `Z` in front of the offset, as Mosquitto's JSON has it.
    pub fn json_stamp(&self) -> String {
        let micros = self.nanos / 1000;
        format!("{}T{}.{micros:06}Z{}", self.format('F'), self.clock(), self.zone_offset())
    }

    fn clock(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    fn zone_offset(&self) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
    }

    /// ISO 8601 year and week number.
    fn iso_week(&self) -> (i64, u32) {
        // The week's Thursday decides; 1 = Monday.
        let weekday = if self.weekday == 0 { 7 } else { self.weekday };
        let week = (self.yearday + 1 + 10 - weekday) / 7;
        if week == 0 {
            return (self.year - 1, weeks_in_year(self.year - 1));
        }
        if week > weeks_in_year(self.year) {
            return (self.year + 1, 1);
        }
        (self.year, week)
    }
}

/// 52 or 53.
fn weeks_in_year(year: i64) -> u32 {
    let leap = days_from_civil(year + 1, 1, 1) - days_from_civil(year, 1, 1) == 366;
    let first = (days_from_civil(year, 1, 1) + 4).rem_euclid(7);
    if first == 4 || (leap && first == 3) { 53 } else { 52 }
}

/// Year, month and day of a day counted from 1 January 1970.
fn civil(days: i64) -> (i64, u32, u32) {
    // Eras of 400 years that begin on 1 March, so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

/// The day, counted from 1 January 1970, of a date.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A time zone: its known changes, and the rule for what comes after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Moments of change in ascending order, with the offset and name that hold from then on.
    changes: Vec<(i64, i32, String)>,
    /// What holds before the first change.
    before: (i32, String),
    rule: Option<Rule>,
}

impl Zone {
    /// The zone the environment names.
    pub fn local() -> Self {
        let found = match std::env::var("TZ") {
            Ok(name) => {
                let name = name.strip_prefix(':').unwrap_or(&name);
                let file =
                    if name.starts_with('/') { name.into() } else { format!("/usr/share/zoneinfo/{name}") };
                let from_file = || std::fs::read(&file).ok().and_then(|bytes| Self::from_file(&bytes));
                if name.is_empty() { None } else { from_file().or_else(|| Self::from_rule(name)) }
            }
            Err(_) => std::fs::read("/etc/localtime").ok().and_then(|bytes| Self::from_file(&bytes)),
        };
        found.unwrap_or_else(Self::utc)
    }

    /// UTC.
    pub fn utc() -> Self {
        Self { before: (0, "UTC".into()), ..Self::default() }
    }

    /// A zone of a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    pub fn from_rule(text: &str) -> Option<Self> {
        let rule = Rule::parse(text)?;
        Some(Self { before: (rule.standard.0, rule.standard.1.clone()), rule: Some(rule), ..Self::default() })
    }

    /// A zone of a file as `/usr/share/zoneinfo` has them.
    pub fn from_file(bytes: &[u8]) -> Option<Self> {
        let mut file = ZoneFile { bytes };
        let first = file.header()?;
        let (header, wide) = if first.version >= b'2' {
            file.take(first.size(4))?;
            (file.header()?, true)
        } else {
            (first, false)
        };
        let size = if wide { 8 } else { 4 };
        let times = file.take(header.times.checked_mul(size)?)?;
        let kinds = file.take(header.times)?;
        let types = file.take(header.types.checked_mul(6)?)?;
        let names = file.take(header.names)?;
        file.take(header.leaps.checked_mul(size + 4)?.checked_add(header.standards + header.utcs)?)?;
        let kind = |index: usize| -> Option<(i32, String)> {
            let entry = types.get(index * 6..index * 6 + 6)?;
            let offset = i32::from_be_bytes(entry.get(..4)?.try_into().ok()?);
            let name = names.get(usize::from(*entry.get(5)?)..)?;
            let name = name.split(|b| *b == 0).next()?;
            Some((offset, String::from_utf8_lossy(name).into_owned()))
        };
        let mut changes = Vec::new();
        for (time, index) in times.chunks_exact(size).zip(kinds) {
            let time = match time.try_into() {
                Ok(eight) => i64::from_be_bytes(eight),
                Err(_) => i64::from(i32::from_be_bytes(time.try_into().ok()?)),
            };
            let (offset, name) = kind(usize::from(*index))?;
            changes.push((time, offset, name));
        }
        let footer = if wide { std::str::from_utf8(file.bytes).ok().map(str::trim) } else { None };
        Some(Self { changes, before: kind(0)?, rule: footer.and_then(Rule::parse) })
    }

    /// Offset from UTC in seconds, and name, at a moment.
    fn at(&self, epoch: i64) -> (i32, String) {
        let next = self.changes.partition_point(|(time, ..)| *time <= epoch);
        if next == self.changes.len()
            && let Some(rule) = &self.rule
        {
            return rule.at(epoch);
        }
        match next.checked_sub(1).and_then(|i| self.changes.get(i)) {
            Some((_, offset, name)) => (*offset, name.clone()),
            None => self.before.clone(),
        }
    }
}

struct ZoneFile<'a> {
    bytes: &'a [u8],
}

struct ZoneHeader {
    version: u8,
    utcs: usize,
    standards: usize,
    leaps: usize,
    times: usize,
    types: usize,
    names: usize,
}

impl ZoneHeader {
    /// Bytes behind the header when times have `size` bytes.
    fn size(&self, size: usize) -> usize {
        self.times * (size + 1)
            + self.types * 6
            + self.names
            + self.leaps * (size + 4)
            + self.standards
            + self.utcs
    }
}

impl<'a> ZoneFile<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(taken)
    }

    fn header(&mut self) -> Option<ZoneHeader> {
        let header = self.take(44)?;
        if !header.starts_with(b"TZif") {
            return None;
        }
        let count = |i: usize| -> Option<usize> {
            let field = header.get(20 + 4 * i..24 + 4 * i)?;
            usize::try_from(u32::from_be_bytes(field.try_into().ok()?)).ok().filter(|n| *n < 1 << 20)
        };
        Some(ZoneHeader {
            version: *header.get(4)?,
            utcs: count(0)?,
            standards: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            names: count(5)?,
        })
    }
}

/// A POSIX rule: standard time, and perhaps summer time with its two dates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    standard: (i32, String),
    summer: Option<(i32, String, RuleDate, RuleDate)>,
}

/// A date in each year, and the second of that day on the local clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RuleDate {
    day: RuleDay,
    second: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleDay {
    /// `Mm.w.d`: week 5 is the last.
    Weekday { month: u32, week: u32, weekday: u32 },
    /// `Jn`: 1 to 365, 29 February is never counted.
    Julian(u32),
    /// `n`: 0 to 365.
    Zero(u32),
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = rule_name(text)?;
        // A name without an offset is a name for UTC, whatever follows.
        let Some((west, rest)) = rule_seconds(rest) else {
            return Some(Self { standard: (0, name), summer: None });
        };
        let standard = (-west, name);
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let (summer_name, rest) = rule_name(rest)?;
        let (offset, rest) = match rule_seconds(rest) {
            Some((west, rest)) => (-west, rest),
            None => (standard.0 + 3600, rest),
        };
        let mut dates = rest.strip_prefix(',').unwrap_or("M3.2.0,M11.1.0").split(',').map(RuleDate::parse);
        let (start, end) = (dates.next()??, dates.next()??);
        Some(Self { standard, summer: Some((offset, summer_name, start, end)) })
    }

    fn at(&self, epoch: i64) -> (i32, String) {
        let Some((offset, name, start, end)) = &self.summer else { return self.standard.clone() };
        let (year, ..) = civil((epoch + i64::from(self.standard.0)).div_euclid(86_400));
        let start = start.local(year) - i64::from(self.standard.0);
        let end = end.local(year) - i64::from(*offset);
        let summer = if start < end { (start..end).contains(&epoch) } else { !(end..start).contains(&epoch) };
        if summer { (*offset, name.clone()) } else { self.standard.clone() }
    }
}

impl RuleDate {
    fn parse(text: &str) -> Option<Self> {
        let (day, second) = match text.split_once('/') {
            Some((day, time)) => (day, rule_seconds(time)?.0),
            None => (text, 7200),
        };
        let day = if let Some(rest) = day.strip_prefix('M') {
            let mut parts = rest.split('.').map(str::parse::<u32>);
            let (month, week, weekday) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
            RuleDay::Weekday { month, week, weekday }
        } else if let Some(rest) = day.strip_prefix('J') {
            RuleDay::Julian(rest.parse().ok()?)
        } else {
            RuleDay::Zero(day.parse().ok()?)
        };
        Some(Self { day, second })
    }

    /// Seconds since 1970 of this date in `year`, on the local clock.
    fn local(&self, year: i64) -> i64 {
        let first = days_from_civil(year, 1, 1);
        let day = match self.day {
            RuleDay::Zero(n) => first + i64::from(n),
            RuleDay::Julian(n) => {
                let leap = days_from_civil(year + 1, 1, 1) - first == 366;
                first + i64::from(n) - 1 + i64::from(leap && n >= 60)
            }
            RuleDay::Weekday { month, week, weekday } => {
                let start = days_from_civil(year, i64::from(month), 1);
                let (next_year, next_month) =
                    if month == 12 { (year + 1, 1) } else { (year, i64::from(month) + 1) };
                let next = days_from_civil(next_year, next_month, 1);
                let mut day = start + (i64::from(weekday) - (start + 4).rem_euclid(7)).rem_euclid(7);
                day += 7 * (i64::from(week) - 1);
                if day >= next { day - 7 } else { day }
            }
        };
        day * 86_400 + i64::from(self.second)
    }
}

fn rule_name(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('<') {
        let (name, rest) = rest.split_once('>')?;
        return Some((name.to_owned(), rest));
    }
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    (name.len() >= 3).then(|| (name.to_owned(), rest))
}

/// `[+-]hh[:mm[:ss]]` in seconds.
fn rule_seconds(text: &str) -> Option<(i32, &str)> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total = 0i32;
    for (i, unit) in [3600, 60, 1].into_iter().enumerate() {
        if i > 0 {
            match rest.strip_prefix(':') {
                Some(after) => rest = after,
                None => break,
            }
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at_checked(end)?;
        total = total.checked_add(digits.parse::<i32>().ok()?.checked_mul(unit)?)?;
        rest = after;
    }
    Some((sign * total, rest))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn shown(zone: &Zone, epoch: i64, conversions: &str) -> String {
        let time = LocalTime::at(zone, epoch, 123_456_789);
        let mut out = String::new();
        for c in conversions.chars() {
            write!(out, "{}|", time.format(c)).expect("a string takes it");
        }
        out
    }

    #[test]
    fn conversions_are_those_of_the_c_locale() {
        let utc = Zone::utc();
        // What `LC_ALL=C TZ=UTC date -d @… +…` prints.
        assert_eq!(
            shown(&utc, 1_700_000_000, "aAbBcCdDeFgGhHIjklmMpPrRsSTuUVwWxXyYzZ%"),
            "Tue|Tuesday|Nov|November|Tue Nov 14 22:13:20 2023|20|14|11/14/23|14|2023-11-14|23|2023|Nov|22|10|318|22|10|\
             11|13|PM|pm|10:13:20 PM|22:13|1700000000|20|22:13:20|2|46|46|2|46|11/14/23|22:13:20|23|2023|+0000|UTC|%|"
        );
        // 1 January 2021 is a Friday of week 53 of 2020; 31 December 2024 a Tuesday of week 1 of 2025.
        assert_eq!(shown(&utc, 1_609_459_200, "GVUWju"), "2020|53|00|00|001|5|");
        assert_eq!(shown(&utc, 1_735_603_200, "GVUWju"), "2025|01|52|53|366|2|");
        assert_eq!(shown(&utc, 0, "FTw"), "1970-01-01|00:00:00|4|");
        assert_eq!(shown(&utc, -1, "FT"), "1969-12-31|23:59:59|");
        assert_eq!(shown(&utc, 951_782_400, "F"), "2000-02-29|");
        assert_eq!(shown(&utc, 951_782_400, "qJ"), "%q|%J|");
        let time = LocalTime::at(&utc, 1_700_000_000, 123_456_789);
        assert_eq!(time.iso(), "2023-11-14T22:13:20+0000");
        assert_eq!(time.json_stamp(), "2023-11-14T22:13:20.123456Z+0000");
    }

    #[test]
    fn rules_give_summer_time() {
        let berlin = Zone::from_rule("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule");
        for (epoch, expected) in [
            (1_711_846_799, "01:59:59|CET|+0100|"),
            (1_711_846_800, "03:00:00|CEST|+0200|"),
            (1_729_990_799, "02:59:59|CEST|+0200|"),
            (1_729_990_800, "02:00:00|CET|+0100|"),
        ] {
            assert_eq!(shown(&berlin, epoch, "TZz"), expected);
        }
        let sydney = Zone::from_rule("AEST-10AEDT,M10.1.0,M4.1.0/3").expect("a rule");
        assert_eq!(shown(&sydney, 1_704_067_200, "TZz"), "11:00:00|AEDT|+1100|");
        assert_eq!(shown(&sydney, 1_719_792_000, "TZz"), "10:00:00|AEST|+1000|");
        let india = Zone::from_rule("<+0530>-5:30").expect("a rule");
        assert_eq!(shown(&india, 0, "TZz"), "05:30:00|+0530|+0530|");
        let nowhere = Zone::from_rule("Nowhere/Nothing").expect("a name");
        assert_eq!(shown(&nowhere, 0, "TZz"), "00:00:00|Nowhere|+0000|");
        assert!(Zone::from_rule("x").is_none());
    }

    #[test]
    fn zone_files_are_read_and_broken_ones_refused() {
        // Version 2: an empty version 1 block, one change at 100 from LMT to XST, and a footer.
        let mut file = Vec::new();
        let header = |times: u32, types: u32, names: u32| {
            let mut h = b"TZif2".to_vec();
            h.extend([0; 15]);
            for n in [0, 0, 0, times, types, names] {
                h.extend(n.to_be_bytes());
            }
            h
        };
        file.extend(header(0, 0, 0));
        file.extend(header(1, 2, 8));
        file.extend(100i64.to_be_bytes());
        file.push(1);
        file.extend(60i32.to_be_bytes());
        file.extend([0, 0]);
        file.extend(3600i32.to_be_bytes());
        file.extend([0, 4]);
        file.extend(b"LMT\0XST\0");
        file.extend(b"\nXST-1\n");
        let zone = Zone::from_file(&file).expect("a zone");
        assert_eq!(shown(&zone, 99, "TZ"), "00:02:39|LMT|");
        assert_eq!(shown(&zone, 100, "TZ"), "01:01:40|XST|");
        for cut in 0..file.len() - 7 {
            assert!(Zone::from_file(&file[..cut]).is_none(), "{cut}");
        }
        assert!(Zone::from_file(b"TZif2").is_none());
    }
}
