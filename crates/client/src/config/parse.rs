//! Reads single values with the texts of Kafka's `ConfigDef`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{OffsetReset, Role};
use crate::error::ConfigError;

/// Properties by name, as read from a file or command line.
pub type Properties = BTreeMap<String, String>;

/// Names that Kafka's clients of every kind know and that this client has no use for.
const IGNORED: &[&str] = &[
    "config.providers",
    "enable.metrics.push",
    "interceptor.classes",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "security.providers",
    "socket.connection.setup.timeout.max.ms",
];
const IGNORED_PRODUCER: &[&str] = &[
    "key.serializer",
    "metadata.max.idle.ms",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "transaction.timeout.ms",
    "transaction.two.phase.commit.enable",
    "value.serializer",
];
const IGNORED_CONSUMER: &[&str] =
    &["key.deserializer", "share.acknowledgement.mode", "share.acquire.mode", "value.deserializer"];

/// The given properties, and which of them were asked for.
pub(crate) struct Values {
    given: Properties,
    asked: BTreeSet<String>,
}

impl Values {
    pub(crate) fn new(given: Properties) -> Self {
        Self { given, asked: BTreeSet::new() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    fn get(&mut self, name: &str) -> Option<&str> {
        self.asked.insert(name.to_owned());
        self.given.get(name).map(String::as_str)
    }

    pub(crate) fn string(&mut self, name: &str, default: &str) -> Result<String, ConfigError> {
        Ok(self.get(name).unwrap_or(default).to_owned())
    }

    pub(crate) fn optional(&mut self, name: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.get(name).map(str::to_owned))
    }

    pub(crate) fn optional_non_empty(&mut self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.get(name) {
            Some("") => Err(invalid(name, "", "String must be non-empty")),
            other => Ok(other.map(str::to_owned)),
        }
    }

    pub(crate) fn list(&mut self, name: &str, default: &str) -> Result<Vec<String>, ConfigError> {
        let value = self.get(name).unwrap_or(default).trim();
        Ok(value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
    }

    pub(crate) fn boolean(&mut self, name: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) if value.trim().eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.trim().eq_ignore_ascii_case("false") => Ok(false),
            Some(value) => Err(invalid(name, value, "Expected value to be either true or false")),
        }
    }

    pub(crate) fn long(&mut self, name: &str, default: i64, least: i64) -> Result<i64, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number: i64 =
            value.trim().parse().map_err(|_| invalid(name, value, "Not a number of type LONG"))?;
        at_least(name, number, least)?;
        Ok(number)
    }

    pub(crate) fn int(&mut self, name: &str, default: i32, least: i32) -> Result<i32, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number: i32 =
            value.trim().parse().map_err(|_| invalid(name, value, "Not a number of type INT"))?;
        at_least(name, i64::from(number), i64::from(least))?;
        Ok(number)
    }

    /// An INT that counts or measures something: never negative.
    pub(crate) fn count(&mut self, name: &str, default: i32, least: u16) -> Result<usize, ConfigError> {
        self.int(name, default, i32::from(least)).map(|n| usize::try_from(n).unwrap_or_default())
    }

    /// A LONG that measures bytes: never negative.
    pub(crate) fn size(&mut self, name: &str, default: i64, least: u16) -> Result<usize, ConfigError> {
        self.long(name, default, i64::from(least)).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// A LONG in milliseconds.
    pub(crate) fn duration(&mut self, name: &str, default: i64, least: u16) -> Result<Duration, ConfigError> {
        self.long(name, default, i64::from(least))
            .map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default().min(MS_MAX)))
    }

    /// An INT in milliseconds.
    pub(crate) fn duration_int(
        &mut self,
        name: &str,
        default: i32,
        least: u16,
    ) -> Result<Duration, ConfigError> {
        self.int(name, default, i32::from(least))
            .map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
    }

    /// A compression level: a range and perhaps one value beside it. `None` when it is not given.
    pub(crate) fn level(
        &mut self,
        name: &str,
        least: i32,
        most: i32,
        or: Option<i32>,
    ) -> Result<Option<i32>, ConfigError> {
        if !self.has(name) {
            self.asked.insert(name.to_owned());
            return Ok(None);
        }
        let level = self.int(name, 0, i32::MIN)?;
        if (least..=most).contains(&level) || or == Some(level) {
            return Ok(Some(level));
        }
        let reason = match or {
            Some(or) => format!("Value must be between {least} and {most} or equal to {or}"),
            None if level < least => format!("Value must be at least {least}"),
            None => format!("Value must be no more than {most}"),
        };
        Err(invalid(name, &level.to_string(), &reason))
    }

    pub(crate) fn one_of(
        &mut self,
        name: &str,
        default: &str,
        allowed: &[&str],
    ) -> Result<String, ConfigError> {
        let value = self.get(name).unwrap_or(default).trim().to_owned();
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(invalid(name, &value, &format!("String must be one of: {}", allowed.join(", "))))
    }

    pub(crate) fn one_of_any_case(
        &mut self,
        name: &str,
        default: &str,
        allowed: &[&str],
    ) -> Result<String, ConfigError> {
        let value = self.get(name).unwrap_or(default).trim().to_owned();
        if allowed.iter().any(|a| a.eq_ignore_ascii_case(&value)) {
            return Ok(value);
        }
        let reason = format!("String must be one of (case insensitive): {}", allowed.join(", "));
        Err(invalid(name, &value, &reason))
    }

    /// Given names that were never asked for: (known to Kafka's client, unknown to it).
    pub(crate) fn leftovers(self, role: Role) -> (Vec<String>, Vec<String>) {
        let own: &[&str] = match role {
            Role::Producer => IGNORED_PRODUCER,
            Role::Consumer => IGNORED_CONSUMER,
            Role::Admin => &[],
        };
        let known = |name: &String| {
            IGNORED.contains(&name.as_str())
                || own.contains(&name.as_str())
                || name.starts_with("ssl.")
                || name.starts_with("sasl.")
        };
        let Self { given, asked } = self;
        given.into_keys().filter(|name| !asked.contains(name)).partition(known)
    }
}

/// About 30 years: longer times would overflow when added to a moment.
const MS_MAX: u64 = 1_000_000_000_000;

fn at_least(name: &str, number: i64, least: i64) -> Result<(), ConfigError> {
    if number < least {
        return Err(invalid(name, &number.to_string(), &format!("Value must be at least {least}")));
    }
    Ok(())
}

fn invalid(name: &str, value: &str, reason: &str) -> ConfigError {
    ConfigError::Invalid { name: name.to_owned(), value: value.to_owned(), reason: reason.to_owned() }
}

/// `earliest`, `latest`, `none`, `by_duration:PnDTnHnMn.nS`.
pub(crate) fn offset_reset(value: &str) -> Option<OffsetReset> {
    Some(match value.to_ascii_lowercase().as_str() {
        "earliest" => OffsetReset::Earliest,
        "latest" => OffsetReset::Latest,
        "none" => OffsetReset::None,
        other => OffsetReset::ByDuration(iso_duration(other.strip_prefix("by_duration:")?)?),
    })
}

/// An ISO 8601 duration of days and smaller units, lower case, not negative.
fn iso_duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('p')?;
    let (days, time) = match rest.split_once('t') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (rest, ""),
    };
    let mut seconds = 0f64;
    let mut parts = 0;
    for (text, units) in
        [(days, &[('d', 86_400f64)][..]), (time, &[('h', 3600.0), ('m', 60.0), ('s', 1.0)][..])]
    {
        let mut rest = text;
        for &(unit, worth) in units {
            let Some((number, after)) = rest.split_once(unit) else { continue };
            let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
            if number.fract() != 0.0 && unit != 's' {
                return None;
            }
            seconds += number * worth;
            rest = after;
            parts += 1;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    if parts == 0 {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok()
}
