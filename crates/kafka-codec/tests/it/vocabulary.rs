//! Ids and error codes.

use kafka_codec::{ErrorCode, ParseUuidError, Uuid};

#[test]
fn text_is_kafkas() {
    assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    let all = Uuid([0xff; 16]);
    assert_eq!(all.to_string(), "_____________________w");
    let mixed = Uuid(*b"\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51");
    assert_eq!(mixed.to_string(), "ABCDEFGHIJKLMNOPQRSTUQ");
    for id in [Uuid::ZERO, Uuid::METADATA_TOPIC, all, mixed] {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ==".parse(), Ok(Uuid::METADATA_TOPIC));
    assert_eq!("short".parse::<Uuid>(), Err(ParseUuidError));
    assert_eq!("AAAAAAAAAAAAAAAAAAAA+Q".parse::<Uuid>(), Err(ParseUuidError));
}

#[test]
fn random_ids_are_version_4_and_never_look_like_an_option() {
    assert_eq!(Uuid::from_random([0xf8; 16]), None);
    let id = Uuid::from_random([0xff; 16]).unwrap();
    assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2));
}

#[test]
fn codes_are_dense_and_looked_up() {
    let codes: Vec<i16> = ErrorCode::ALL.iter().map(|e| e.code()).collect();
    assert_eq!(codes, (-1..=136).collect::<Vec<i16>>());
    for error in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_code(error.code()), Some(*error));
    }
    assert_eq!(ErrorCode::from_code(137), None);
    assert_eq!(ErrorCode::from_wire(999), ErrorCode::UnknownServerError);
    assert_eq!(ErrorCode::from_code(3).map(ErrorCode::name), Some("UNKNOWN_TOPIC_OR_PARTITION"));
    assert!(ErrorCode::NotLeaderOrFollower.is_retriable());
    assert!(!ErrorCode::InvalidRequiredAcks.is_retriable());
}
