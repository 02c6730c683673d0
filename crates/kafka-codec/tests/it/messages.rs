//! Every generated message in every version.

use bytes::Bytes;
use kafka_codec::messages::{Visitor, visit_all};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, DecodeError, EncodeError, Message};

use super::bounded::peak_bytes;
use super::random::Random;

/// A decoder may ask for this many bytes per byte of input (structs are larger than their shortest encoding, and
/// a growing vector is there twice; 35 is the most there is: the topics of a MetadataRequest), …
const BYTES_PER_INPUT_BYTE_MAX: usize = 40;
/// … and for this many at once, before it has read what it allocates for.
const BYTES_AT_ONCE_MAX: usize = 1024 * 1024;

fn encoded<M: Message>(message: &M, version: i16) -> Vec<u8> {
    let mut w = Vec::new();
    message.encode(&mut w, version).unwrap_or_else(|e| panic!("{} v{version}: {e}", M::NAME));
    w
}

/// The default of every message survives a round trip in every version.
#[test]
fn defaults_round_trip() {
    struct Check(usize);
    impl Visitor for Check {
        fn visit<M: Message>(&mut self) {
            for version in M::VERSIONS {
                let message = M::default();
                let mut w = Vec::new();
                match message.encode(&mut w, version) {
                    Ok(()) => {
                        let mut r = Reader::new(&w);
                        let again = M::decode(&mut r, version).unwrap();
                        r.finish().unwrap();
                        assert_eq!(again, message, "{} v{version}", M::NAME);
                        self.0 += 1;
                    }
                    // A default of null in a version that has no null.
                    Err(EncodeError::Null { .. }) => {}
                    Err(error) => panic!("{} v{version}: {error}", M::NAME),
                }
            }
            for version in [M::VERSIONS.start() - 1, M::VERSIONS.end() + 1, i16::MAX] {
                let refused = M::default().encode(&mut Vec::new(), version);
                assert_eq!(refused, Err(EncodeError::UnsupportedVersion { message: M::NAME, version }));
                let refused = M::decode(&mut Reader::new(&[0; 100]), version);
                assert_eq!(refused, Err(DecodeError::UnsupportedVersion { message: M::NAME, version }));
            }
        }
    }
    let mut check = Check(0);
    visit_all(&mut check);
    assert!(check.0 > 600, "only {} versions were checked", check.0);
}

/// Random bytes: no panic, bounded memory, and what decodes encodes to something that decodes to the same.
#[test]
fn random_bytes_decode_or_are_refused() {
    struct Check {
        random: Random,
        decoded: usize,
    }
    impl Visitor for Check {
        fn visit<M: Message>(&mut self) {
            for version in M::VERSIONS {
                let mut decoded = 0;
                for round in 0..60 {
                    let len = self.random.below(if round % 4 == 0 { 2000 } else { 80 });
                    let mut input =
                        if round % 3 == 0 { self.random.bytes(len) } else { self.random.likely(len) };
                    if round % 2 == 0 {
                        // Bytes of a real message, damaged, and zeros behind, so that lists may grow.
                        input = encoded_or_empty(&M::default(), version);
                        input.extend(vec![0; self.random.below(40)]);
                        self.random.mutate(&mut input);
                    }
                    decoded += usize::from(check_one::<M>(&input, version));
                }
                self.decoded += decoded;
            }
        }
    }
    let mut check = Check { random: Random::new(42), decoded: 0 };
    visit_all(&mut check);
    assert!(check.decoded > 10_000, "only {} inputs decoded", check.decoded);
}

fn encoded_or_empty<M: Message>(message: &M, version: i16) -> Vec<u8> {
    let mut w = Vec::new();
    if message.encode(&mut w, version).is_err() {
        w.clear();
    }
    w
}

fn check_one<M: Message>(input: &[u8], version: i16) -> bool {
    let shared = Bytes::copy_from_slice(input);
    let (result, bytes) = peak_bytes(|| M::decode(&mut Reader::shared(&shared), version));
    let bytes_max = input.len() * BYTES_PER_INPUT_BYTE_MAX + 1024;
    assert!(bytes <= bytes_max, "{} v{version}: {bytes} bytes for {} of input", M::NAME, input.len());
    let Ok(message) = result else { return false };
    let copied = M::decode(&mut Reader::new(input), version).unwrap();
    // Not-a-number differs from itself: compare the bytes.
    let once = encoded(&message, version);
    assert_eq!(encoded(&copied, version), once, "{} v{version}: {input:02x?}", M::NAME);
    let mut r = Reader::new(&once);
    let again = M::decode(&mut r, version).unwrap_or_else(|e| panic!("{} v{version}: {e}", M::NAME));
    assert!(r.finish().is_ok(), "{} v{version}: more is written than read", M::NAME);
    assert_eq!(encoded(&again, version), once, "{} v{version}: {input:02x?}", M::NAME);
    true
}

/// The largest arrays that fit into their bytes, at every place: memory stays a small multiple of the input.
#[test]
fn full_arrays_are_bounded_by_their_input() {
    const ELEMENT_BYTES: usize = 4096;
    struct Check(usize);
    impl Visitor for Check {
        fn visit<M: Message>(&mut self) {
            for version in M::VERSIONS {
                for at in 0..16 {
                    for shortest in 1..24 {
                        let count = (ELEMENT_BYTES / shortest) as u32;
                        let mut input = vec![0; at];
                        if M::is_flexible(version) {
                            kafka_codec::wire::put_uvarint(&mut input, count + 1);
                        } else {
                            kafka_codec::wire::put_u32(&mut input, count);
                        }
                        input.resize(input.len() + ELEMENT_BYTES, 0);
                        let (result, bytes) =
                            peak_bytes(|| M::decode(&mut Reader::new(&input), version).is_ok());
                        self.0 += usize::from(result);
                        let bytes_max = input.len() * BYTES_PER_INPUT_BYTE_MAX;
                        assert!(bytes <= bytes_max, "{} v{version}: {bytes} for {}", M::NAME, input.len());
                    }
                }
            }
        }
    }
    let mut check = Check(0);
    visit_all(&mut check);
    assert!(check.0 > 1000, "only {} inputs decoded", check.0);
}

/// Lengths that promise much allocate nothing.
#[test]
fn giant_counts_allocate_nothing() {
    struct Check;
    impl Visitor for Check {
        fn visit<M: Message>(&mut self) {
            for version in M::VERSIONS {
                let giants: [&[u8]; 5] = [
                    &[0x7f, 0xff, 0xff, 0xff],
                    &[0xff; 4],
                    &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    &[0x80; 5],
                    &[0, 0x98, 0x96, 0x80],
                ];
                for giant in giants {
                    // The count at every position of an otherwise plausible message.
                    for at in 0..24 {
                        let mut input = vec![0; at];
                        input.extend_from_slice(giant);
                        input.extend_from_slice(&[1; 60]);
                        let (_, bytes) = peak_bytes(|| M::decode(&mut Reader::new(&input), version));
                        assert!(bytes < BYTES_AT_ONCE_MAX / 16, "{} v{version}: {bytes} bytes", M::NAME);
                    }
                }
            }
        }
    }
    visit_all(&mut Check);
}

/// A long array of the smallest elements: memory stays a multiple of the input.
#[test]
fn long_arrays_are_bounded_by_their_input() {
    use kafka_codec::messages::{CreateTopicsRequest, MetadataRequest, OffsetFetchRequest};
    let mut input = (1_000_000u32).to_be_bytes().to_vec();
    input.resize(input.len() + 2_000_000, 0);
    let (result, bytes) = peak_bytes(|| MetadataRequest::decode(&mut Reader::new(&input), 1));
    assert_eq!(result.unwrap().topics.unwrap().len(), 1_000_000);
    assert!(bytes < 2_000_000 * BYTES_PER_INPUT_BYTE_MAX, "{bytes}");
    // One too many for the bytes that are there.
    let mut input = (1_000_001u32).to_be_bytes().to_vec();
    input.resize(input.len() + 2_000_000, 0);
    let (result, bytes) = peak_bytes(|| MetadataRequest::decode(&mut Reader::new(&input), 1));
    assert!(
        matches!(result, Err(DecodeError::Length { what: "array", length: 1_000_001, .. })),
        "{result:?}"
    );
    assert_eq!(bytes, 0);
    for count in [u32::MAX, 1 << 31, 0x7fff_ffff] {
        let input = count.to_be_bytes();
        assert!(CreateTopicsRequest::decode(&mut Reader::new(&input), 2).is_err());
        assert!(OffsetFetchRequest::decode(&mut Reader::new(&input), 1).is_err());
    }
}

#[test]
fn api_keys_know_their_versions() {
    assert_eq!(ApiKey::from_i16(3), Some(ApiKey::Metadata));
    assert_eq!(ApiKey::from_i16(-1), None);
    assert_eq!(ApiKey::from_i16(500), None);
    for key in ApiKey::ALL {
        assert_eq!(ApiKey::from_i16(key.as_i16()), Some(*key));
    }
    assert_eq!(ApiKey::Fetch.versions(), Some(4..=18));
    assert_eq!(ApiKey::Produce.versions(), Some(3..=13));
    assert_eq!(ApiKey::InitProducerId.versions(), Some(0..=5), "version 6 is unstable");
    assert_eq!(ApiKey::LeaderAndIsr.versions(), None);
    assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
    assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
    assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    assert!(ApiKey::Metadata.is_broker_api());
    assert!(!ApiKey::Vote.is_broker_api());
}

#[test]
fn fields_that_a_version_lacks_are_dropped_or_refused_as_the_schema_says() {
    use kafka_codec::messages::{FetchRequest, FindCoordinatorRequest, MetadataRequest, OffsetCommitRequest};
    // Not ignorable: refused unless it holds its default.
    let many = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    assert_eq!(
        many.encode(&mut Vec::new(), 3),
        Err(EncodeError::UnsupportedField { field: "FindCoordinatorRequest.CoordinatorKeys", version: 3 })
    );
    assert!(many.encode(&mut Vec::new(), 4).is_ok());
    // Ignorable: dropped.
    let fetch = FetchRequest { rack_id: "r".into(), ..Default::default() };
    let again = FetchRequest::decode(&mut Reader::new(&encoded(&fetch, 10)), 10).unwrap();
    assert_eq!(again.rack_id, "");
    // Null where a version has none.
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(
        all.encode(&mut Vec::new(), 0),
        Err(EncodeError::Null { field: "MetadataRequest.Topics", version: 0 })
    );
    // Schema defaults.
    let commit = OffsetCommitRequest::default();
    assert_eq!((commit.generation_id_or_member_epoch, commit.retention_time_ms), (-1, -1));
    assert_eq!(MetadataRequest::default().topics, Some(Vec::new()));
}

#[test]
fn unknown_tagged_fields_are_kept() {
    use kafka_codec::messages::FetchRequest;
    let mut request = FetchRequest { cluster_id: Some("c".into()), ..Default::default() };
    request.unknown_tags.push(5, Bytes::from_static(b"new"));
    request.unknown_tags.push(300, Bytes::new());
    let bytes = encoded(&request, 18);
    assert_eq!(FetchRequest::decode(&mut Reader::new(&bytes), 18).unwrap(), request);
    assert_eq!(
        request.encode(&mut Vec::new(), 11),
        Err(EncodeError::UnsupportedField { field: "FetchRequest.unknown_tags", version: 11 })
    );
    let mut clash = FetchRequest { cluster_id: Some("c".into()), ..Default::default() };
    clash.unknown_tags.push(0, Bytes::new());
    assert_eq!(clash.encode(&mut Vec::new(), 18), Err(EncodeError::DuplicateTag { tag: 0 }));
}

#[test]
fn metadata_records_carry_their_frame() {
    use kafka_codec::Uuid;
    use kafka_codec::messages::TopicRecord;
    use kafka_codec::messages::metadata::MetadataRecord;
    let record: MetadataRecord =
        TopicRecord { name: "t".into(), topic_id: Uuid([7; 16]), ..Default::default() }.into();
    let mut w = Vec::new();
    record.encode_value(&mut w, 0).unwrap();
    let mut expected = vec![1, 2, 0, 2, b't'];
    expected.extend([7; 16]);
    expected.push(0);
    assert_eq!(w, expected);
    assert_eq!(MetadataRecord::decode_value(&mut Reader::new(&w)).unwrap(), (record, 0));
    let unknown = MetadataRecord::decode_value(&mut Reader::new(&[1, 99, 0]));
    assert_eq!(unknown, Err(DecodeError::UnknownKey { what: "MetadataRecord type", key: 99 }));
    assert!(MetadataRecord::decode_value(&mut Reader::new(&[2, 2, 0])).is_err());
}

#[test]
fn coordinator_records_are_prefixed_by_type_and_version() {
    use kafka_codec::messages::group_records::{GroupRecordKey, GroupRecordValue};
    use kafka_codec::messages::transaction_records::{TransactionRecordKey, TransactionRecordValue};
    use kafka_codec::messages::{OffsetCommitKey, OffsetCommitValue, TransactionLogKey, TransactionLogValue};
    let key: GroupRecordKey = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 }.into();
    let mut w = Vec::new();
    key.encode(&mut w).unwrap();
    assert_eq!(w, b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
    assert_eq!(GroupRecordKey::decode(&mut Reader::new(&w)).unwrap(), key);
    let value: GroupRecordValue =
        OffsetCommitValue { offset: 9, leader_epoch: 2, commit_timestamp: 5, ..Default::default() }.into();
    let mut w = Vec::new();
    value.encode(&mut w, 3).unwrap();
    assert_eq!(w, b"\0\x03\0\0\0\0\0\0\0\x09\0\0\0\x02\0\0\0\0\0\0\0\0\0\x05");
    assert_eq!(GroupRecordValue::decode(&mut Reader::new(&w), 1).unwrap(), (value, 3));
    let key: TransactionRecordKey = TransactionLogKey { transactional_id: "x".into() }.into();
    let mut w = Vec::new();
    key.encode(&mut w).unwrap();
    assert_eq!(TransactionRecordKey::decode(&mut Reader::new(&w)).unwrap(), key);
    let value: TransactionRecordValue = TransactionLogValue::default().into();
    for version in value.versions() {
        let mut w = Vec::new();
        value.encode(&mut w, version).unwrap();
        let read = TransactionRecordValue::decode(&mut Reader::new(&w), 0).unwrap();
        assert_eq!(read, (value.clone(), version));
    }
}
