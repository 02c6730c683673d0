use std::fmt;
use std::ops::RangeInclusive;

pub use crate::messages::ApiKey;

/// What the schemas say about one API; generated, one per key.
pub(crate) struct ApiFacts {
    pub(crate) name: &'static str,
    /// First and last version; `None` for APIs that Kafka 4 removed and whose schemas are empty.
    pub(crate) versions: Option<(i16, i16)>,
    /// `latestVersionUnstable`: Kafka does not offer the last version by default.
    pub(crate) latest_unstable: bool,
    pub(crate) flexible_from: Option<i16>,
    /// Offered on brokers' listeners (the others are for controllers only).
    pub(crate) broker: bool,
}

impl ApiKey {
    /// The key of a number on the wire; `None` for numbers that Kafka 4.4 does not know.
    pub fn from_i16(key: i16) -> Option<Self> {
        Self::ALL.binary_search_by_key(&key, |k| k.as_i16()).ok().and_then(|i| Self::ALL.get(i).copied())
    }

    /// The number on the wire.
    pub const fn as_i16(self) -> i16 {
        self as i16
    }

    /// Name without "Request", such as `Metadata`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Versions that the schema knows and Kafka calls stable; `None` for removed APIs. A broker offers what it
    /// implements of them (for Produce it says 0 to 13 although 3 to 13 exist, as Kafka does for old librdkafka).
    pub fn versions(self) -> Option<RangeInclusive<i16>> {
        let facts = self.facts();
        facts.versions.map(|(first, last)| first..=last - i16::from(facts.latest_unstable))
    }

    /// First version with compact lengths and tagged fields (KIP-482).
    pub const fn flexible_from(self) -> Option<i16> {
        self.facts().flexible_from
    }

    /// Whether `version` has compact lengths and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        self.flexible_from().is_some_and(|from| version >= from)
    }

    /// Whether brokers offer it to clients (`false`: controllers only).
    pub const fn is_broker_api(self) -> bool {
        self.facts().broker
    }

    /// Version of the request header in front of a request of `version`: 2 when flexible, else 1, but 0 for
    /// ControlledShutdown v0, which has no client id.
    pub fn request_header_version(self, version: i16) -> i16 {
        match self {
            Self::ControlledShutdown if version == 0 => 0,
            _ if self.is_flexible(version) => 2,
            _ => 1,
        }
    }

    /// Version of the response header in front of a response of `version`: 1 (tagged fields) when flexible, else
    /// 0; always 0 for ApiVersions, whose reader does not yet know what the broker speaks (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        match self {
            Self::ApiVersions => 0,
            _ => i16::from(self.is_flexible(version)),
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
