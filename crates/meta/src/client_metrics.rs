//! Subscriptions to the metrics of clients (KIP-714): which clients push which metrics, and how often.

use std::collections::{BTreeMap, BTreeSet};

use kafka_codec::ErrorCode;
use regex::Regex;

use crate::MetaError;
use crate::config::{client_metrics_config, split_list};
use crate::image::{ConfigResourceKind, Image};

/// Prefixes of metric names.
pub const METRICS: &str = "metrics";
/// Pause between two pushes.
pub const INTERVAL_MS: &str = "interval.ms";
/// Which clients.
pub const MATCH: &str = "match";
/// Stands for all metrics.
pub const ALL_METRICS: &str = "*";
/// Pause between two pushes where nobody asked for another one.
pub const INTERVAL_MS_DEFAULT: i32 = 300_000;

const INTERVAL_MS_MIN: i32 = 100;
const INTERVAL_MS_MAX: i32 = 3_600_000;

/// What a subscription can look at in a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trait {
    /// The id that the broker gave the client.
    InstanceId,
    /// `client.id`.
    Id,
    /// Name of the client's library.
    SoftwareName,
    /// Version of the client's library.
    SoftwareVersion,
    /// Address the client comes from.
    SourceAddress,
    /// Port the client comes from.
    SourcePort,
}

impl Trait {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "client_instance_id" => Self::InstanceId,
            "client_id" => Self::Id,
            "client_software_name" => Self::SoftwareName,
            "client_software_version" => Self::SoftwareVersion,
            "client_source_address" => Self::SourceAddress,
            "client_source_port" => Self::SourcePort,
            _ => return None,
        })
    }
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Prefixes of metric names, or [`ALL_METRICS`].
    pub metrics: BTreeSet<String>,
    /// Pause between two pushes.
    pub interval_ms: i32,
    patterns: BTreeMap<Trait, Regex>,
}

impl Subscription {
    /// Whether it is about a client, of which `of` tells the traits.
    pub fn matches(&self, of: impl Fn(Trait) -> Option<String>) -> bool {
        self.patterns.iter().all(|(what, pattern)| of(*what).is_some_and(|value| pattern.is_match(&value)))
    }
}

/// All subscriptions of an image. What was written by a broker that allowed more than this one is left out.
pub fn subscriptions(image: &Image) -> Vec<Subscription> {
    let kind = ConfigResourceKind::ClientMetrics;
    let parse = |name: &str| {
        let configs = image.configs(kind, name);
        let list = |key: &str| configs.get(key).map(String::as_str).unwrap_or_default();
        let interval_ms = configs.get(INTERVAL_MS).and_then(|text| text.trim().parse().ok());
        Some(Subscription {
            metrics: split_list(list(METRICS)).map(str::to_owned).collect(),
            interval_ms: interval_ms.unwrap_or(INTERVAL_MS_DEFAULT),
            patterns: patterns(list(MATCH)).ok()?,
        })
    };
    image.configured(kind).filter_map(parse).collect()
}

/// Checks all settings that a subscription is to have.
///
/// # Errors
/// [`MetaError::Refused`] with the code and words Kafka has for it.
pub fn check(name: &str, configs: &BTreeMap<String, String>) -> Result<(), MetaError> {
    let refused = |message: String| Err(MetaError::refused(ErrorCode::InvalidRequest, message));
    if name.is_empty() {
        return refused("Subscription name can't be empty".to_owned());
    }
    if let Some(unknown) = configs.keys().find(|key| client_metrics_config(key).is_none()) {
        return refused(format!("Unknown client metrics configuration: {unknown}"));
    }
    for (key, value) in configs {
        if let Some(def) = client_metrics_config(key) {
            def.check(value).map_err(|message| MetaError::refused(ErrorCode::InvalidConfig, message))?;
        }
    }
    let interval_ms = configs.get(INTERVAL_MS).and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(value) = interval_ms.filter(|ms| !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(ms)) {
        return refused(format!(
            "Invalid value {value} for {INTERVAL_MS}, interval must be between 100 and 3600000 (1 hour)"
        ));
    }
    if let Some(list) = configs.get(MATCH) {
        patterns(list).map_err(|pattern| {
            let message = format!("Illegal client matching pattern: {pattern}");
            MetaError::refused(ErrorCode::InvalidConfig, message)
        })?;
    }
    Ok(())
}

/// `client_id=abc.*,…`; the error is the part that cannot be used.
fn patterns(list: &str) -> Result<BTreeMap<Trait, Regex>, String> {
    let pattern = |part: &str| {
        // As Java splits: what is empty at the end does not count.
        let mut pieces = part.trim_end_matches('=').split('=');
        let (name, value) = (pieces.next()?, pieces.next()?);
        let what = Trait::named(name.trim())?;
        let whole = Regex::new(&format!("^(?:{})$", value.trim())).ok()?;
        pieces.next().is_none().then_some((what, whole))
    };
    split_list(list).map(|part| pattern(part).ok_or_else(|| part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, pairs: &[(&str, &str)]) -> String {
        let configs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        match check(name, &configs) {
            Ok(()) => String::new(),
            Err(error) => error.to_client().1,
        }
    }

    #[test]
    fn settings_are_refused_in_kafkas_words() {
        assert_eq!(
            checked("s", &[("interval.ms", "100"), ("metrics", "a,b"), ("match", "client_id=a.*")]),
            ""
        );
        assert_eq!(checked("", &[]), "Subscription name can't be empty");
        assert_eq!(checked("s", &[("x", "1")]), "Unknown client metrics configuration: x");
        assert_eq!(
            checked("s", &[("interval.ms", "99")]),
            "Invalid value 99 for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        );
        assert_eq!(
            checked("s", &[("interval.ms", "x")]),
            "Invalid value x for configuration interval.ms: Not a number of type INT"
        );
        for wrong in ["foo=x", "client_id", "client_id=", "client_id=a=b", "client_id=["] {
            assert_eq!(
                checked("s", &[("match", wrong)]),
                format!("Illegal client matching pattern: {wrong}")
            );
        }
    }

    #[test]
    fn every_pattern_must_match_the_whole_trait() {
        let subscription = Subscription {
            metrics: BTreeSet::new(),
            interval_ms: 1,
            patterns: patterns("client_id=a.*, client_source_port=[0-9]+").expect("valid"),
        };
        let client = |id: &'static str, port: Option<&'static str>| {
            subscription.matches(|what| match what {
                Trait::Id => Some(id.to_owned()),
                Trait::SourcePort => port.map(str::to_owned),
                _ => None,
            })
        };
        assert!(client("abc", Some("80")));
        assert!(!client("xabc", Some("80")), "not only a part of it");
        assert!(!client("abc", None), "a trait that is not known does not match");
    }
}
