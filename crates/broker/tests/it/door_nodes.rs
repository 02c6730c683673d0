//! Nodes with a door of one cluster each: a name belongs to who took it last.

use bytes::Bytes;
use client::door::{Ack, Door, DoorError, NewTopic, Record, StartAt, TopicPartition};
use client::remote::RemoteDoor;

use crate::harness::*;

fn record(value: &str) -> Record {
    Record { value: Some(Bytes::copy_from_slice(value.as_bytes())), ..Record::default() }
}

#[tokio::test]
async fn a_node_whose_place_is_taken_appends_nothing_atomically_any_more() {
    let broker = TestBroker::start(&[]).await;
    let bootstrap = [("bootstrap.servers".to_owned(), broker.address().to_string())];
    let properties = bootstrap.into_iter().collect();
    let one = RemoteDoor::open(&properties, "door", "one").await.unwrap();
    let two = RemoteDoor::open(&properties, "door", "two").await.unwrap();
    one.create_topic(NewTopic { name: "t".into(), partitions: Some(1), configs: Vec::new() }).await.unwrap();
    two.topics().wait_for(|image| image.get("t").is_some()).await.unwrap();
    let t = TopicPartition::new("t", 0);
    let both = [
        one.append_atomic(vec![(t.clone(), record("1"))]),
        two.append_atomic(vec![(t.clone(), record("2"))]),
    ];
    for appended in futures_util::future::join_all(both).await {
        appended.unwrap();
    }
    let nodes = two.nodes().unwrap();
    assert_eq!(&*nodes.name(), "two");
    let lost = one.nodes().unwrap().lost();
    let first = nodes.replace("one").await.unwrap();
    first.append_atomic(vec![(t.clone(), record("3"))]).await.unwrap();
    let refused = one.append_atomic(vec![(t.clone(), record("never"))]).await;
    assert!(matches!(refused, Err(DoorError::Fenced(_))), "{refused:?}");
    assert!(*lost.borrow());
    let refused = one.append_atomic(vec![(t.clone(), record("never"))]).await;
    assert!(matches!(refused, Err(DoorError::Fenced(_))), "{refused:?}");
    // A second one takes that place from the first.
    let second = nodes.replace("one").await.unwrap();
    second.append_atomic(vec![(t.clone(), record("4"))]).await.unwrap();
    let refused = first.append_atomic(vec![(t.clone(), record("never"))]).await;
    assert!(matches!(refused, Err(DoorError::Fenced(_))), "{refused:?}");
    // What needs no name goes on, and the other node too.
    one.append(&t, record("5"), Ack::All).await.unwrap();
    two.append_atomic(vec![(t.clone(), record("6"))]).await.unwrap();
    let end = two.offset_at(&t, StartAt::Latest).await.unwrap();
    let (mut next, mut values) = (0, Vec::new());
    while next < end {
        let chunk = two.read(&t, next, 1 << 20).await.unwrap();
        next = chunk.next_offset;
        values.extend(chunk.records.into_iter().filter_map(|r| r.value));
    }
    values[..2].sort();
    assert_eq!(values, ["1", "2", "3", "4", "5", "6"].map(|v| Bytes::from_static(v.as_bytes())));
}
