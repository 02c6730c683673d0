//! Limits on connections and frames; a bad frame costs its own connection only.

use kafka_codec::messages::{ApiVersionsRequest, MetadataRequest};

use crate::harness::{Client, Fetch, Target, TestBroker, batch};

async fn works(client: &mut Client) {
    client.call(9, &MetadataRequest::default()).await;
}

#[tokio::test]
async fn bad_frames_close_their_connection_only() {
    let broker = TestBroker::start(&[]).await;
    let mut bystander = broker.client().await;
    works(&mut bystander).await;
    let frames: &[&[u8]] = &[
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 1, 2, 3],
        // Metadata v1 with two billion topics.
        &[0, 0, 0, 16, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for frame in frames {
        let mut client = broker.client().await;
        client.send_raw(frame).await;
        assert!(client.is_closed().await, "{frame:?}");
    }
    works(&mut bystander).await;
}

#[tokio::test]
async fn the_first_frame_is_capped_lower_than_later_ones() {
    let broker = TestBroker::start(&[("socket.request.max.bytes", "1000000")]).await;
    let announce = |len: i32| len.to_be_bytes();
    let mut fresh = broker.client().await;
    fresh.send_raw(&announce(600_000)).await;
    assert!(fresh.is_closed().await);
    let mut proven = broker.client().await;
    works(&mut proven).await;
    assert_eq!(proven.create_topic("t", 1, &[]).await, 0);
    let large = batch(&["x".repeat(700_000).as_str()]);
    assert_eq!(proven.produce(&Target::new("t"), &large).await, (0, 0));
    proven.send_raw(&announce(1_000_001)).await;
    assert!(proven.is_closed().await);
}

#[tokio::test]
async fn connections_are_counted() {
    let broker = TestBroker::start(&[("max.connections.per.ip", "2")]).await;
    let mut first = broker.client().await;
    let mut second = broker.client().await;
    works(&mut first).await;
    works(&mut second).await;
    assert!(broker.client().await.is_closed().await);
    works(&mut first).await;
    drop(second);
    // The place comes free when the broker has noticed the end.
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let mut third = broker.client().await;
        third.send(9, &MetadataRequest::default()).await;
        if third.receive().await.is_some() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no place came free");
    }
}

#[tokio::test]
async fn a_full_broker_lets_connections_wait() {
    let broker = TestBroker::start(&[("max.connections", "2")]).await;
    let mut first = broker.client().await;
    let mut second = broker.client().await;
    works(&mut first).await;
    works(&mut second).await;
    let mut third = broker.client().await;
    third.send(9, &MetadataRequest::default()).await;
    works(&mut first).await;
    drop(second);
    assert!(third.receive().await.is_some(), "the place that came free is not given to who waits");
}

#[tokio::test]
async fn half_sent_requests_hold_up_nobody() {
    let broker = TestBroker::start(&[]).await;
    let mut stuck = Vec::new();
    for _ in 0..50 {
        let mut client = broker.client().await;
        works(&mut client).await;
        client.send_raw(&(100_i32 << 20).to_be_bytes()).await;
        client.send_raw(&[0; 100]).await;
        stuck.push(client);
    }
    works(&mut broker.client().await).await;
}

#[tokio::test]
async fn memory_for_requests_is_bounded() {
    // Room for one request of 1 MB at a time, and two that want it.
    let broker = TestBroker::start(&[
        ("queued.max.request.bytes", "1000000"),
        ("socket.request.max.bytes", "1000000"),
    ])
    .await;
    let mut first = broker.client().await;
    works(&mut first).await;
    assert_eq!(first.create_topic("t", 1, &[]).await, 0);
    first.send_raw(&900_000_i32.to_be_bytes()).await;
    first.send_raw(&vec![0; 890_000]).await;
    let mut second = broker.client().await;
    works(&mut second).await;
    drop(first);
    let large = batch(&["x".repeat(800_000).as_str()]);
    assert_eq!(second.produce(&Target::new("t"), &large).await, (0, 0), "once the first has gone");
}

#[tokio::test]
async fn idle_connections_end() {
    let broker = TestBroker::start(&[("connections.max.idle.ms", "100")]).await;
    let mut client = broker.client().await;
    works(&mut client).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_waiting_fetch_is_not_idle() {
    let broker = TestBroker::start(&[("connections.max.idle.ms", "50")]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    let fetched = client.fetch(&Fetch { max_wait_ms: 300, ..Fetch::new("t", 0) }).await;
    assert_eq!(fetched.error, 0);
}

#[tokio::test]
async fn requests_may_come_byte_by_byte_and_end_with_the_input() {
    use tokio::io::AsyncWriteExt;
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let request = ApiVersionsRequest::default();
    let frame = kafka_codec::frame::request(&request, 0, 5, None).unwrap();
    for byte in &frame {
        client.send_raw(&[*byte]).await;
        client.stream.flush().await.unwrap();
    }
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.receive().await.unwrap()[..4], [0, 0, 0, 5], "answered although no more can come");
    assert!(client.is_closed().await);
}
