//! What MQTT subscribers got against what was acknowledged to publishers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{History, Op, Operation, Process, Publish, Report, Value, Violation};

/// A subscriber with a persistent session, after everything that was owed to it has come.
#[derive(Clone, Debug)]
pub struct SubscriberEnd {
    /// Client id.
    pub name: String,
    /// Highest quality of service it was granted.
    pub granted_qos: u8,
    /// Topics it subscribed to, by name (the driver expands its filters). Of these it is owed every message that
    /// was begun after the SUBACK.
    pub topics: Vec<Arc<str>>,
    /// Place of the SUBACK in the recorder's order ([`super::Operation::invoked_at`] of anything begun right after
    /// it); 0 = before everything.
    pub since: u64,
    /// Topic and value in the order they were handed to the application: a QoS 1 message each time it came, a QoS 2
    /// message when its packet identifier was new.
    pub received: Vec<(Arc<str>, Value)>,
}

/// What there is at the end.
#[derive(Clone, Debug, Default)]
pub struct MqttEnd {
    /// Persistent subscribers.
    pub subscribers: Vec<SubscriberEnd>,
    /// What a new subscriber got as the retained message of each topic asked about.
    pub retained: Vec<(Arc<str>, Option<Value>)>,
}

/// Compares a history with what subscribers got: QoS 1 nothing lost, QoS 2 nothing lost and nothing twice, order
/// per publisher, topic and quality of service, and the retained message is the last one acknowledged.
pub fn check_mqtt(history: &History, end: &MqttEnd) -> Report {
    let published = Published::of(history);
    let mut report = Report::default();
    published.count(end, &mut report);
    for subscriber in &end.subscribers {
        let got = Got::of(subscriber);
        published.check_deliveries(subscriber, &got, &mut report);
        published.check_order(subscriber, &got, &mut report);
    }
    for (topic, found) in &end.retained {
        published.check_retained(topic, *found, &mut report);
    }
    report.violations.sort();
    report.violations.dedup();
    report
}

/// Where each message came in one subscriber's stream.
struct Got<'a> {
    places: HashMap<(&'a str, Value), Vec<usize>>,
}

impl<'a> Got<'a> {
    fn of(subscriber: &'a SubscriberEnd) -> Self {
        let mut places: HashMap<(&str, Value), Vec<usize>> = HashMap::new();
        for (place, (topic, value)) in subscriber.received.iter().enumerate() {
            places.entry((topic, *value)).or_default().push(place);
        }
        Self { places }
    }

    fn places<'s>(&'s self, publish: &'s Publish) -> &'s [usize] {
        self.places.get(&(&*publish.topic, publish.value)).map_or(&[], Vec::as_slice)
    }
}

struct Published<'a> {
    all: Vec<(&'a Operation, &'a Publish)>,
}

impl<'a> Published<'a> {
    fn of(history: &'a History) -> Self {
        let publish = |operation: &'a Operation| match &operation.op {
            Op::Publish(publish) => Some((operation, publish)),
            _ => None,
        };
        Self { all: history.operations.iter().filter_map(publish).collect() }
    }

    fn count(&self, end: &MqttEnd, report: &mut Report) {
        let seen: HashMap<(&str, Value), ()> = end
            .subscribers
            .iter()
            .flat_map(|subscriber| &subscriber.received)
            .map(|(topic, value)| ((&**topic, *value), ()))
            .collect();
        for (operation, publish) in &self.all {
            if operation.ok_at().is_some() {
                report.acknowledged += 1;
            } else if operation.ended.is_none() {
                report.unknown += 1;
                report.unknown_seen += usize::from(seen.contains_key(&(&*publish.topic, publish.value)));
            }
        }
    }

    fn check_deliveries(&self, subscriber: &SubscriberEnd, got: &Got<'_>, report: &mut Report) {
        let mut known: HashMap<(&str, Value), ()> = HashMap::new();
        for (operation, publish) in &self.all {
            let qos = publish.qos.min(subscriber.granted_qos);
            let times = got.places(publish).len();
            let names = || (subscriber.name.clone(), publish.topic.to_string(), publish.value);
            if !operation.failed() {
                known.insert((&publish.topic, publish.value), ());
            }
            let owed = operation.ok_at().is_some()
                && qos > 0
                && operation.invoked_at >= subscriber.since
                && subscriber.topics.contains(&publish.topic);
            if owed && times == 0 {
                let (subscriber, topic, value) = names();
                report.violations.push(Violation::NotDelivered { subscriber, topic, value, qos });
            }
            if times > 1 && qos == 2 {
                let (subscriber, topic, value) = names();
                report.violations.push(Violation::DeliveredTwice { subscriber, topic, value, times });
            } else if times > 1 {
                report.repeats += times - 1;
            }
        }
        for (topic, value) in got.places.keys().filter(|place| !known.contains_key(*place)) {
            report.violations.push(Violation::NotPublished {
                subscriber: subscriber.name.clone(),
                topic: (*topic).to_owned(),
                value: *value,
            });
        }
    }

    /// First deliveries follow the order of publishing, for each publisher, topic and quality of service.
    fn check_order(&self, subscriber: &SubscriberEnd, got: &Got<'_>, report: &mut Report) {
        let mut last: HashMap<(Process, &str, u8), (usize, Value)> = HashMap::new();
        for (operation, publish) in self.all.iter().filter(|(operation, _)| operation.ok_at().is_some()) {
            // Sent again at QoS 1 the message is twice in the log; of the first one QoS 0 may have lost its copy.
            if subscriber.granted_qos == 0 && publish.qos == 1 {
                continue;
            }
            let Some(place) = got.places(publish).first().copied() else { continue };
            let stream = (operation.process, &*publish.topic, publish.qos);
            let newest = last.entry(stream).or_insert((place, publish.value));
            if place < newest.0 {
                report.violations.push(Violation::DeliveryOrder {
                    subscriber: subscriber.name.clone(),
                    topic: publish.topic.to_string(),
                    first: newest.1,
                    second: publish.value,
                });
            } else {
                *newest = (place, publish.value);
            }
        }
    }

    /// The retained message is one that no other acknowledged one certainly replaced.
    fn check_retained(&self, topic: &str, found: Option<Value>, report: &mut Report) {
        let writes: Vec<&(&Operation, &Publish)> = self
            .all
            .iter()
            .filter(|(operation, publish)| publish.retain && *publish.topic == *topic && !operation.failed())
            .collect();
        // What was begun last among the acknowledged replaced everything that was over by then.
        let newest = writes.iter().filter(|(op, _)| op.ok_at().is_some()).map(|(op, _)| op.invoked_at).max();
        let mut allowed: BTreeMap<Option<Value>, ()> = BTreeMap::new();
        for (operation, publish) in writes {
            let replaced = newest.is_some_and(|newest| operation.ok_at().is_some_and(|at| at < newest));
            if !replaced {
                allowed.insert((!publish.clear).then_some(publish.value), ());
            }
        }
        if newest.is_none() {
            allowed.insert(None, ());
        }
        if !allowed.contains_key(&found) {
            let allowed = allowed.into_keys().collect();
            report.violations.push(Violation::Retained { topic: topic.to_owned(), found, allowed });
        }
    }
}
