use kafka_codec::Uuid;

use super::*;
use crate::config::BrokerProperties;
use crate::{ConfigResourceKind, Image, MetaRecord, decode, encode};

fn topic_id(n: u8) -> Uuid {
    Uuid([n; 16])
}

fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor: 1, ..NewTopic::default() }
}

/// Writes the records down, reads them back and applies them.
fn apply(image: &mut Image, records: &[MetaRecord]) {
    for record in records {
        let read = decode(&encode(record).unwrap()).unwrap();
        assert_eq!(&read, record);
        image.apply(image.end_offset, &read).unwrap();
    }
}

fn create(image: &mut Image, new: &NewTopic, id: Uuid) {
    let properties = BrokerProperties::default();
    let placement = Placement { nodes: &[7], directory: Uuid([1; 16]), properties: &properties };
    let plan = create_topic(image, &placement, new, id).unwrap();
    apply(image, &plan.records);
}

#[test]
fn records_look_as_in_kafka() {
    let mut image = Image::default();
    let properties = BrokerProperties::default();
    let placement = Placement { nodes: &[7], directory: Uuid([1; 16]), properties: &properties };
    let plan = create_topic(&image, &placement, &new_topic("t", 1), topic_id(9)).unwrap();
    // Frame version 1, type 2 (topic), version 0; compact string, id, no tags.
    let mut want = vec![1, 2, 0, 2, b't'];
    want.extend_from_slice(&[9; 16]);
    want.push(0);
    assert_eq!(encode(&plan.records[0]).unwrap(), want);
    assert_eq!(encode(&plan.records[1]).unwrap()[..3], [1, 3, 1]);
    apply(&mut image, &plan.records);
    let state = &image.topic("t").unwrap().partitions[0];
    assert_eq!((state.leader, state.leader_epoch, &state.isr[..]), (7, 0, &[7][..]));
}

#[test]
fn topics_grow_get_configured_and_go() {
    let mut image = Image::default();
    let configured =
        NewTopic { configs: vec![("retention.ms".into(), Some("5".into()))], ..new_topic("t", 2) };
    create(&mut image, &configured, topic_id(1));
    create(&mut image, &new_topic("u", 1), topic_id(2));
    let properties = BrokerProperties::default();
    let placement = Placement { nodes: &[7], directory: Uuid([1; 16]), properties: &properties };
    let more = NewPartitions { name: "t".into(), count: 5, assignments: None };
    let records = create_partitions(&image, &placement, &more).unwrap();
    apply(&mut image, &records);
    assert_eq!((image.topic("t").unwrap().partitions.len(), image.partition_count()), (5, 6));
    assert_eq!(image.configs(ConfigResourceKind::Topic, "t").get("retention.ms").unwrap(), "5");
    let records = delete_topic(&image.topic_by_id(topic_id(1)).unwrap().clone());
    let before = image.clone();
    apply(&mut image, &records);
    assert!(image.topic("t").is_none() && image.topic_by_id(topic_id(1)).is_none());
    assert!(image.configs(ConfigResourceKind::Topic, "t").is_empty(), "not for a later topic of the name");
    assert_eq!(before.topic("t").unwrap().partitions.len(), 5, "readers keep what they had");
    assert_eq!(image.topics().map(|t| &*t.name).collect::<Vec<_>>(), ["u"]);
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let mut image = Image::default();
    let properties = BrokerProperties::default();
    let placement = Placement { nodes: &[7], directory: Uuid([1; 16]), properties: &properties };
    let plan = create_topic(&image, &placement, &new_topic("t", 2), topic_id(3)).unwrap();
    let orphan = image.apply(0, &plan.records[1]).unwrap_err();
    assert!(orphan.starts_with("partition of unknown topic"), "{orphan}");
    image.apply(0, &plan.records[0]).unwrap();
    let gap = image.apply(1, &plan.records[2]).unwrap_err();
    assert_eq!(gap, "partition 1 of topic t does not follow partition 0");
    let removal = delete_topic(&crate::Topic { name: "x".into(), id: topic_id(8), partitions: Vec::new() });
    assert!(image.apply(1, &removal[0]).unwrap_err().starts_with("removal of unknown topic"));
}

#[test]
fn producer_ids_come_in_blocks_and_registration_has_its_offset_as_epoch() {
    let mut image = Image::default();
    let endpoints =
        [RegisteredEndpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092, protocol: 0 }];
    let records = register_broker(&image, 7, topic_id(4), topic_id(5), Some("r".into()), &endpoints);
    apply(&mut image, &records);
    let registration = image.brokers.get(&7).unwrap();
    assert_eq!((registration.epoch, registration.rack.as_deref()), (1, Some("r")));
    assert_eq!(image.features.get("metadata.version"), Some(&30));
    for want in [0, 1000, 2000] {
        let (first, records) = next_producer_ids(&image, 7);
        assert_eq!(first, want);
        apply(&mut image, &records);
    }
    let again = register_broker(&image, 7, topic_id(6), topic_id(5), None, &endpoints);
    assert_eq!(again.len(), 1, "the feature level stands already");
}

#[test]
fn unchanged_values_write_nothing() {
    let mut image = Image::default();
    create(&mut image, &new_topic("t", 1), topic_id(1));
    let set = |value: &str| ConfigChange {
        kind: ConfigResourceKind::Topic,
        name: "t".into(),
        entries: vec![("retention.ms".into(), ConfigOp::Set, Some(value.into()))],
        replace: false,
    };
    let properties = BrokerProperties::default();
    let records = alter_configs(&image, &properties, 7, &set("5")).unwrap();
    assert_eq!(records.len(), 1);
    apply(&mut image, &records);
    assert!(alter_configs(&image, &properties, 7, &set("5")).unwrap().is_empty());
    let delete = ConfigChange { entries: vec![("retention.ms".into(), ConfigOp::Delete, None)], ..set("5") };
    let records = alter_configs(&image, &properties, 7, &delete).unwrap();
    apply(&mut image, &records);
    assert!(image.configs(ConfigResourceKind::Topic, "t").is_empty());
    assert!(alter_configs(&image, &properties, 7, &delete).unwrap().is_empty());
}
