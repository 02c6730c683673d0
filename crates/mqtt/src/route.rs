//! Which Kafka topic, partition and key an MQTT topic has, and which Kafka topics a filter has to follow.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use client::door::{TopicImage, TopicInfo};
use mqtt_codec::topic as name;

use crate::config::{AckLevel, AutoCreate, RouteConfig, RouteKey};
use crate::error::MqttError;

/// Longest Kafka topic name.
const KAFKA_NAME_MAX: usize = 249;

/// The routing table.
#[derive(Debug)]
pub(crate) struct Routes {
    explicit: Vec<Explicit>,
    auto_create: AutoCreate,
    overflow: Arc<str>,
}

#[derive(Debug)]
struct Explicit {
    filter: Box<str>,
    topic: Arc<str>,
    key: RouteKey,
    partitions: Option<i32>,
    ack: AckLevel,
    /// Before the first wildcard, where that is the last level: what keys stand behind.
    prefix: Option<Box<str>>,
    retained: bool,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Kafka topic.
    pub(crate) topic: Arc<str>,
    /// Partitions to create it with.
    pub(crate) partitions: Option<i32>,
    /// What an ack is to mean in a topic that is created.
    pub(crate) ack: AckLevel,
    /// Record key.
    pub(crate) key: RouteKey,
    /// Whether the topic comes from an explicit route (not counted against the cap).
    pub(crate) explicit: bool,
    /// Whether the topic's latest records are the retained messages.
    pub(crate) retained: bool,
}

impl Routes {
    /// Checks and compiles the configured routes.
    pub(crate) fn new(routes: &[RouteConfig], auto_create: &AutoCreate) -> Result<Self, MqttError> {
        let mut explicit = Vec::with_capacity(routes.len());
        for r in routes {
            let bad =
                |what: &str| MqttError::Config(format!("route {:?} -> {:?}: {what}", r.filter, r.topic));
            name::validate_filter(&r.filter).map_err(|e| bad(&format!("the filter {e}")))?;
            if r.filter.starts_with('$') {
                return Err(bad("topics that begin with '$' are not routed"));
            }
            if !is_kafka_name(&r.topic) || r.topic.starts_with("__") {
                return Err(bad("not a Kafka topic name, or an internal one"));
            }
            if r.partitions.is_some_and(|p| p < 1) {
                return Err(bad("needs at least one partition"));
            }
            if r.retained && r.key != RouteKey::Topic {
                return Err(bad("retained messages need the whole MQTT topic as key"));
            }
            explicit.push(Explicit {
                filter: r.filter.as_str().into(),
                topic: r.topic.as_str().into(),
                key: r.key,
                partitions: r.partitions,
                ack: r.ack.unwrap_or(auto_create.ack),
                prefix: r.filter.strip_suffix("/#").filter(|p| !p.contains(['+', '#'])).map(Into::into),
                retained: r.retained,
            });
        }
        let overflow: Arc<str> = auto_create.overflow_topic.as_str().into();
        if !is_kafka_name(&overflow) || overflow.starts_with("__") {
            return Err(MqttError::Config(format!("overflow topic {overflow:?} is not a Kafka topic name")));
        }
        Ok(Self { explicit, auto_create: auto_create.clone(), overflow })
    }

    /// The route of a topic name that does not begin with `$`.
    pub(crate) fn target(&self, topic: &str) -> Target {
        if let Some(r) = self.explicit.iter().find(|r| name::matches(&r.filter, topic)) {
            return Target {
                topic: r.topic.clone(),
                partitions: r.partitions,
                ack: r.ack,
                key: r.key,
                explicit: true,
                retained: r.retained,
            };
        }
        match default_topic(topic) {
            Some(t) => Target {
                topic: t.as_ref().into(),
                partitions: self.auto_create.partitions,
                ack: self.auto_create.ack,
                key: RouteKey::Topic,
                explicit: false,
                retained: false,
            },
            None => self.overflow(),
        }
    }

    /// The route of last resort.
    pub(crate) fn overflow(&self) -> Target {
        Target {
            topic: self.overflow.clone(),
            partitions: self.auto_create.partitions,
            ack: self.auto_create.ack,
            key: RouteKey::Topic,
            explicit: true,
            retained: false,
        }
    }

    /// The Kafka topics whose latest records are retained messages.
    pub(crate) fn exposed(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<_> =
            self.explicit.iter().filter(|r| r.retained).map(|r| r.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The MQTT topic of a record whose key is none, in a topic of retained messages: the key behind the route's prefix.
    pub(crate) fn keyed(&self, kafka_topic: &str, key: &str) -> Option<String> {
        let mut routes = self.explicit.iter().filter(|r| r.retained && &*r.topic == kafka_topic);
        let prefix = routes.find_map(|r| r.prefix.as_deref())?;
        let topic = format!("{prefix}/{key}");
        (name::validate_name(&topic).is_ok() && self.admits(kafka_topic, &topic)).then_some(topic)
    }

    /// Whether the cap allows one more topic beside those of `image`.
    pub(crate) fn may_create(&self, image: &TopicImage) -> bool {
        image.topics.iter().filter(|t| is_routed(t)).count() < self.auto_create.max_topics
    }

    /// Whether a record of Kafka topic `kafka_topic` may carry this MQTT topic: whether a message published to
    /// it would go there.
    pub(crate) fn admits(&self, kafka_topic: &str, topic: &str) -> bool {
        if topic.starts_with('$') {
            return false;
        }
        if kafka_topic == &*self.overflow {
            return true;
        }
        match self.explicit.iter().find(|r| name::matches(&r.filter, topic)) {
            Some(r) => &*r.topic == kafka_topic,
            None => default_topic(topic).is_some_and(|t| t == kafka_topic),
        }
    }

    /// Calls `found` for each topic of `image` that may hold messages for `filter`.
    pub(crate) fn followed<'i>(
        &self,
        filter: &str,
        image: &'i TopicImage,
        found: &mut impl FnMut(&'i TopicInfo),
    ) {
        if filter.starts_with('$') {
            return;
        }
        if filter.starts_with(['+', '#']) {
            image.topics.iter().filter(|t| is_routed(t)).for_each(found);
            return;
        }
        let mut names = self.named(filter);
        names.push(Cow::Borrowed(&*self.overflow));
        names.sort_unstable();
        names.dedup();
        names.iter().filter_map(|n| image.get(n)).filter(|t| is_routed(t)).for_each(found);
    }

    /// The Kafka topics that the routes name for what matches a filter whose first level is literal; the overflow topic
    /// only where no other is.
    pub(crate) fn named<'f>(&'f self, filter: &'f str) -> Vec<Cow<'f, str>> {
        let explicit = self.explicit.iter().filter(|r| overlap(&r.filter, filter));
        let mut names: Vec<Cow<'_, str>> = explicit.map(|r| Cow::Borrowed(&*r.topic)).collect();
        names.extend(default_topic(filter));
        if names.is_empty() {
            names.push(Cow::Borrowed(&*self.overflow));
        }
        names
    }

    /// Whether [`Routes::followed`] of this filter would name this topic.
    pub(crate) fn follows(&self, filter: &str, topic: &TopicInfo) -> bool {
        let image = TopicImage { topics: vec![topic.clone()] };
        let mut any = false;
        self.followed(filter, &image, &mut |_| any = true);
        any
    }
}

/// Internal topics are never reachable from MQTT.
pub(crate) fn is_routed(topic: &TopicInfo) -> bool {
    !topic.internal && !topic.name.starts_with("__")
}

/// The key a record gets.
pub fn record_key(key: RouteKey, topic: &Bytes) -> Option<Bytes> {
    match key {
        RouteKey::Topic => Some(topic.clone()),
        RouteKey::None => None,
        RouteKey::Level(n) => {
            let level = topic.split(|b| *b == b'/').nth(n);
            Some(level.map_or_else(|| topic.clone(), |l| topic.slice_ref(l)))
        }
    }
}

fn is_kafka_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

fn is_kafka_name(name: &str) -> bool {
    (1..=KAFKA_NAME_MAX).contains(&name.len())
        && name.bytes().all(is_kafka_char)
        && name != "."
        && name != ".."
}

/// The Kafka topic that the default route gives to an MQTT topic (or to a filter whose first level is literal):
/// the first level, each character that Kafka forbids replaced by `_`. `None` when that is no name for it:
/// empty, `.`, `..`, too long, or internal.
pub fn default_topic(topic: &str) -> Option<Cow<'_, str>> {
    let first = topic.split('/').next().unwrap_or_default();
    let name = if first.bytes().all(is_kafka_char) {
        Cow::Borrowed(first)
    } else {
        let replaced = |c: char| if u8::try_from(c).is_ok_and(is_kafka_char) { c } else { '_' };
        Cow::Owned(first.chars().map(replaced).collect())
    };
    (is_kafka_name(&name) && !name.starts_with("__")).then_some(name)
}

/// Whether some topic name matches both filters.
fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(x), Some(y)) if x == y => {}
            // "a/#" also matches "a".
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(list: &[(&str, &str, RouteKey)]) -> Routes {
        let list: Vec<_> = list
            .iter()
            .map(|(f, t, k)| RouteConfig {
                filter: (*f).to_owned(),
                topic: (*t).to_owned(),
                key: *k,
                partitions: None,
                ack: None,
                retained: false,
            })
            .collect();
        Routes::new(&list, &AutoCreate::default()).unwrap()
    }

    fn image(names: &[&str]) -> TopicImage {
        let mut topics: Vec<_> = names
            .iter()
            .map(|n| TopicInfo {
                name: (*n).into(),
                partitions: 1,
                internal: n.starts_with("__consumer"),
                caching: false,
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        TopicImage { topics }
    }

    #[test]
    fn the_default_route_takes_the_first_level() {
        let r = routes(&[]);
        let longest = "x".repeat(249);
        let too_long = "x".repeat(250);
        for (topic, kafka) in [
            ("sensors/1/temp", "sensors"),
            ("sensors", "sensors"),
            ("my sensors/1", "my_sensors"),
            ("größe/x", "gr__e"),
            ("/a/b", "mqtt-overflow"),
            (".", "mqtt-overflow"),
            ("../x", "mqtt-overflow"),
            ("__consumer_offsets/0", "mqtt-overflow"),
            ("  x", "mqtt-overflow"),
            (longest.as_str(), longest.as_str()),
            (too_long.as_str(), "mqtt-overflow"),
        ] {
            assert_eq!(&*r.target(topic).topic, kafka, "{topic}");
            assert!(r.admits(kafka, topic), "{topic}");
        }
    }

    #[test]
    fn explicit_routes_come_first_and_in_order() {
        let r = routes(&[
            ("plant/+/press/#", "presses", RouteKey::Level(1)),
            ("plant/#", "plant-all", RouteKey::None),
        ]);
        let t = r.target("plant/7/press/x");
        assert_eq!((&*t.topic, t.key), ("presses", RouteKey::Level(1)));
        assert_eq!(&*r.target("plant/7/oven").topic, "plant-all");
        assert_eq!(&*r.target("plants/7").topic, "plants");
        assert!(r.admits("presses", "plant/7/press"));
        assert!(!r.admits("plant", "plant/7/press"));
        assert!(!r.admits("plant-all", "plant/7/press"));
        assert!(r.admits("mqtt-overflow", "anything/at/all"));
        assert!(!r.admits("mqtt-overflow", "$SYS/x"));
    }

    #[test]
    fn filters_follow_every_topic_that_may_hold_a_match() {
        let r = routes(&[("plant/+/press/#", "presses", RouteKey::Topic)]);
        let image =
            image(&["__consumer_offsets", "__mqtt_sessions", "mqtt-overflow", "plant", "presses", "sensors"]);
        let follow = |f: &str| {
            let mut names = Vec::new();
            r.followed(f, &image, &mut |t| names.push(&*t.name));
            names.join(" ")
        };
        assert_eq!(follow("sensors/#"), "mqtt-overflow sensors");
        assert_eq!(follow("plant/1/press"), "mqtt-overflow plant presses");
        assert_eq!(follow("plant/#"), "mqtt-overflow plant presses");
        assert_eq!(follow("plant/1/oven"), "mqtt-overflow plant");
        assert_eq!(follow("#"), "mqtt-overflow plant presses sensors");
        assert_eq!(follow("+/x"), "mqtt-overflow plant presses sensors");
        assert_eq!(follow("__mqtt_sessions/#"), "mqtt-overflow");
        assert_eq!(follow("$SYS/#"), "");
        for t in &image.topics {
            assert_eq!(r.follows("plant/#", t), follow("plant/#").split(' ').any(|n| n == &*t.name));
        }
    }

    #[test]
    fn bad_routes_are_refused() {
        for (f, t) in
            [("a/#/b", "x"), ("", "x"), ("a", "b c"), ("a", "__mqtt_sessions"), ("$SYS/#", "sys"), ("a", "")]
        {
            let c = RouteConfig {
                filter: f.to_owned(),
                topic: t.to_owned(),
                key: RouteKey::Topic,
                partitions: None,
                ack: None,
                retained: false,
            };
            assert!(Routes::new(&[c], &AutoCreate::default()).is_err(), "{f} {t}");
        }
    }

    #[test]
    fn keys() {
        let t = Bytes::from_static(b"a/bc/d");
        assert_eq!(record_key(RouteKey::Topic, &t).as_deref(), Some(&b"a/bc/d"[..]));
        assert_eq!(record_key(RouteKey::Level(1), &t).as_deref(), Some(&b"bc"[..]));
        assert_eq!(record_key(RouteKey::Level(9), &t).as_deref(), Some(&b"a/bc/d"[..]));
        assert_eq!(record_key(RouteKey::None, &t), None);
    }
}
