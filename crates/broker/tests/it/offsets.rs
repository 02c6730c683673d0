//! ListOffsets, DeleteRecords, OffsetForLeaderEpoch, DescribeLogDirs.

use bytes::Bytes;
use kafka_codec::messages::*;
use kafka_codec::records::{BatchBuilder, Compression};

use crate::harness::*;

async fn list(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let request = ListOffsetsRequest {
        topics: vec![list_offsets_request::ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![list_offsets_request::ListOffsetsPartition { timestamp, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(version, &request).await;
    let partition = &response.topics[0].partitions[0];
    (partition.error_code, partition.offset, partition.timestamp)
}

fn stamped(timestamps: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for timestamp in timestamps {
        builder.push(*timestamp, None, Some(b"v"), std::iter::empty()).unwrap();
    }
    builder.build().unwrap().into()
}

#[tokio::test]
async fn offsets_by_time() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(list(&mut client, 9, -1).await, (0, 0, -1), "empty: latest");
    assert_eq!(list(&mut client, 9, -3).await, (0, -1, -1), "empty: no largest timestamp");
    let now = now_ms();
    client.produce(&Target::new("t"), &stamped(&[now, now + 10, now + 5])).await;
    client.produce(&Target::new("t"), &stamped(&[now + 7, now + 20])).await;
    let cases = [
        (-2, (0, 0, -1)),
        (-1, (0, 5, -1)),
        (-3, (0, 4, now + 20)),
        (-4, (0, 0, -1)),
        (-5, (0, -1, -1)),
        (0, (0, 0, now)),
        (now + 1, (0, 1, now + 10)),
        (now + 10, (0, 1, now + 10)),
        (now + 11, (0, 4, now + 20)),
        (now + 21, (0, -1, -1)),
    ];
    for (timestamp, want) in cases {
        assert_eq!(list(&mut client, 9, timestamp).await, want, "timestamp {timestamp}");
    }
    assert_eq!(list(&mut client, 6, -3).await.0, 35, "before version 7");
    assert_eq!(list(&mut client, 1, -1).await, (0, 5, -1));
}

#[tokio::test]
async fn records_can_be_deleted_up_to_an_offset() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    for _ in 0..4 {
        client.produce(&Target::new("t"), &batch(&["a", "b"])).await;
    }
    let mut delete = async |topic: &str, offset: i64| {
        let request = DeleteRecordsRequest {
            topics: vec![delete_records_request::DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![delete_records_request::DeleteRecordsPartition {
                    offset,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = client.call(2, &request).await;
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    };
    assert_eq!(delete("t", 3).await, (0, 3));
    assert_eq!(delete("t", 1).await, (0, 3), "never back");
    assert_eq!(delete("t", 9).await, (1, -1));
    assert_eq!(delete("none", 1).await, (3, -1));
    assert_eq!(delete("compacted", 0).await, (44, -1));
    assert_eq!(list(&mut client, 9, -2).await, (0, 3, -1));
    assert_eq!(client.fetch(&Fetch::new("t", 2)).await.error, 1);
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &[]).await;
    let mut client = broker.client().await;
    assert_eq!(list(&mut client, 9, -2).await, (0, 3, -1), "after a restart too");
}

#[tokio::test]
async fn epochs_end_where_the_log_does() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    client.produce(&Target::new("t"), &batch(&["a", "b"])).await;
    let mut end = async |current_leader_epoch, leader_epoch| {
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![offset_for_leader_epoch_request::OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: vec![offset_for_leader_epoch_request::OffsetForLeaderPartition {
                    partition: 0,
                    current_leader_epoch,
                    leader_epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = client.call(4, &request).await;
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.leader_epoch, partition.end_offset)
    };
    assert_eq!(end(0, 0).await, (0, 0, 2));
    assert_eq!(end(-1, 5).await, (0, -1, -1), "an epoch nobody has had");
    assert_eq!(end(1, 0).await, (75, -1, -1));
}

#[tokio::test]
async fn log_dirs_tell_sizes() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 2, &[]).await;
    client.produce(&Target::new("t"), &batch(&["a"])).await;
    let response = client.call(4, &DescribeLogDirsRequest { topics: None, ..Default::default() }).await;
    let dir = &response.results[0];
    assert_eq!(dir.log_dir, broker.dir.path().to_str().unwrap());
    assert!(dir.total_bytes > 0 && dir.usable_bytes > 0);
    let sizes: Vec<_> =
        dir.topics[0].partitions.iter().map(|p| (p.partition_index, p.partition_size > 0)).collect();
    assert_eq!(sizes, [(0, true), (1, false)]);
}
