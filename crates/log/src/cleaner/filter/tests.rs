use kafka_codec::records::{Compression, end_transaction_marker};

use super::*;

const NO_HEADERS: std::iter::Empty<(&[u8], Option<&[u8]>)> = std::iter::empty();

fn batch(base_offset: i64, codec: Compression, pairs: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec).base_offset(base_offset).leader_epoch(4).producer(9, 2, 30);
    for (i, (key, value)) in (0..).zip(pairs) {
        builder.push(1000 + i, Some(key.as_bytes()), value.map(str::as_bytes), NO_HEADERS).unwrap();
    }
    builder.build().unwrap()
}

fn map(newest: &[(&str, i64)], latest: i64) -> OffsetMap {
    let mut map = OffsetMap::new(1 << 20, 100);
    for (key, offset) in newest {
        map.put(key.as_bytes(), *offset);
    }
    map.passed(latest);
    map
}

fn rules<'a>(map: &'a OffsetMap, now_ms: i64, producers: &'a BTreeMap<i64, LastBatch>) -> Rules<'a> {
    Rules { map, now_ms, delete_retention_ms: 500, producers, decompressed_bytes_max: 1 << 20 }
}

/// Offsets, timestamps and values of the records.
fn contents(bytes: &[u8]) -> Vec<(i64, i64, Option<String>)> {
    let batch = Batch::first(bytes).unwrap();
    batch.check_crc().unwrap();
    let mut scratch = Vec::new();
    records(&batch, 1 << 20, &mut scratch)
        .unwrap()
        .map(|record| {
            let record = record.unwrap();
            let value = record.value.map(|value| String::from_utf8(value.to_vec()).unwrap());
            (record.offset, record.timestamp_ms, value)
        })
        .collect()
}

fn changed(remains: Remains) -> Vec<u8> {
    match remains {
        Remains::Changed(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn superseded_records_go_and_all_else_of_the_batch_stays() {
    for codec in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let original =
            batch(10, codec, &[("a", Some("1")), ("b", Some("2")), ("a", Some("3")), ("c", Some("4"))]);
        let map = map(&[("a", 12), ("b", 11), ("c", 20)], 30);
        let none = BTreeMap::new();
        let filtered =
            rules(&map, 5000, &none).filter(&original, false, &mut TxnWalk::default(), &mut Vec::new());
        let new = changed(filtered.unwrap());
        assert_eq!(contents(&new), [(11, 1001, Some("2".into())), (12, 1002, Some("3".into()))]);
        let (before, after) = (Batch::first(&original).unwrap().header, Batch::first(&new).unwrap().header);
        assert_eq!(after.compression(), Ok(codec));
        assert_eq!((after.base_offset, after.last_offset()), (before.base_offset, before.last_offset()));
        assert_eq!(after.last_sequence(), before.last_sequence());
        assert_eq!((after.leader_epoch, after.producer_id, after.producer_epoch), (4, 9, 2));
        assert_eq!(after.max_timestamp, 1002);
        assert!(!after.has_delete_horizon());
    }
}

#[test]
fn a_batch_that_loses_nothing_stays_as_it_is() {
    let original = batch(10, Compression::Lz4, &[("a", Some("1")), ("b", Some("2"))]);
    let none = BTreeMap::new();
    let check = |map: &OffsetMap| {
        rules(map, 0, &none).filter(&original, false, &mut TxnWalk::default(), &mut Vec::new()).unwrap()
    };
    assert_eq!(check(&map(&[("a", 10), ("b", 11)], 30)), Remains::AsItIs);
    assert_eq!(
        check(&map(&[("a", 3), ("b", 9)], 9)),
        Remains::AsItIs,
        "the map speaks for offsets below only"
    );
    assert_eq!(check(&map(&[("a", 12), ("b", 13)], 30)), Remains::Nothing);
}

#[test]
fn tombstones_get_a_horizon_first_and_go_when_it_has_passed() {
    let original = batch(10, Compression::None, &[("a", None), ("b", Some("2"))]);
    let map = map(&[("a", 10), ("b", 11)], 30);
    let none = BTreeMap::new();
    let clean = |bytes: &[u8], now_ms: i64| {
        rules(&map, now_ms, &none).filter(bytes, false, &mut TxnWalk::default(), &mut Vec::new()).unwrap()
    };
    let marked = changed(clean(&original, 5000));
    let header = Batch::first(&marked).unwrap().header;
    assert!(header.has_delete_horizon());
    assert_eq!(header.base_timestamp, 5500);
    assert_eq!(contents(&marked), [(10, 1000, None), (11, 1001, Some("2".into()))]);
    assert_eq!(clean(&marked, 5499), Remains::AsItIs);
    let without = changed(clean(&marked, 5500));
    assert_eq!(contents(&without), [(11, 1001, Some("2".into()))]);
    assert_eq!(Batch::first(&without).unwrap().header.base_timestamp, 5500);
}

#[test]
fn the_last_batch_of_a_producer_stays_without_its_records() {
    let original = batch(10, Compression::Zstd, &[("a", Some("1")), ("b", Some("2"))]);
    let map = map(&[("a", 20), ("b", 21)], 30);
    let producers = BTreeMap::from([(9, LastBatch { data_offset: Some(11), epoch: 2 })]);
    let rules = rules(&map, 0, &producers);
    let mut scratch = Vec::new();
    let empty = changed(rules.filter(&original, false, &mut TxnWalk::default(), &mut scratch).unwrap());
    let header = Batch::first(&empty).unwrap().header;
    assert_eq!(contents(&empty), []);
    assert_eq!((header.record_count, header.last_offset(), header.last_sequence()), (0, 11, 31));
    assert_eq!(rules.filter(&empty, false, &mut TxnWalk::default(), &mut scratch).unwrap(), Remains::AsItIs);
}

#[test]
fn aborted_records_go_at_once_and_their_marker_after_its_horizon() {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(10).producer(9, 2, 0).transactional();
    builder.push(1000, Some(b"a"), Some(b"1"), NO_HEADERS).unwrap();
    let data = builder.build().unwrap();
    let mut marker = end_transaction_marker(9, 2, false, 1, 1000).unwrap();
    kafka_codec::records::set_base_offset(&mut marker, 11);
    let txn = AbortedTxn { producer_id: 9, first_offset: 10, last_offset: 11, last_stable_offset: 12 };
    let map = map(&[], 30);
    let none = BTreeMap::new();
    let mut scratch = Vec::new();

    let mut walk = TxnWalk::new(vec![txn]);
    let first = rules(&map, 5000, &none);
    assert_eq!(first.filter(&data, false, &mut walk, &mut scratch).unwrap(), Remains::Nothing);
    assert_eq!(first.filter(&marker, false, &mut walk, &mut scratch).unwrap(), Remains::AsItIs);
    assert_eq!(walk.take_index(), [txn], "readers still meet the marker");

    // The next cleaning does not meet the data any more.
    let mut walk = TxnWalk::new(vec![txn]);
    let marked = changed(first.filter(&marker, false, &mut walk, &mut scratch).unwrap());
    assert_eq!(walk.take_index(), []);
    assert_eq!(Batch::first(&marked).unwrap().header.base_timestamp, 5500);
    assert!(end_txn_marker(&marked).is_some());
    let later = rules(&map, 5500, &none);
    let mut walk = TxnWalk::default();
    assert_eq!(later.filter(&marked, false, &mut walk, &mut scratch).unwrap(), Remains::Nothing);
}
