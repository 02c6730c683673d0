//! Headers and lengths.

use kafka_codec::frame::{RequestHeader, begin_response, refuse_api_versions, request};
use kafka_codec::messages::{ApiVersionsRequest, MetadataRequest};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, DecodeError, Message};

#[test]
fn request_headers_of_all_versions() {
    let check = |key, version, expected: &[u8]| {
        let header = RequestHeader { key, version, correlation_id: 7, client_id: Some("me") };
        let mut w = Vec::new();
        header.encode(&mut w).unwrap();
        assert_eq!(w, expected);
        let mut r = Reader::new(&w);
        let read = RequestHeader::decode(&mut r).unwrap();
        r.finish().unwrap();
        let client_id = if key == ApiKey::ControlledShutdown { None } else { Some("me") };
        assert_eq!(read, RequestHeader { client_id, ..header });
    };
    check(ApiKey::ControlledShutdown, 0, b"\0\x07\0\0\0\0\0\x07");
    check(ApiKey::Metadata, 8, b"\0\x03\0\x08\0\0\0\x07\0\x02me");
    check(ApiKey::Metadata, 9, b"\0\x03\0\x09\0\0\0\x07\0\x02me\0");
    check(ApiKey::ApiVersions, 99, b"\0\x12\0\x63\0\0\0\x07\0\x02me\0");
    check(ApiKey::SaslHandshake, 1, b"\0\x11\0\x01\0\0\0\x07\0\x02me");
}

#[test]
fn unknown_apis_have_no_header() {
    let error = RequestHeader::decode(&mut Reader::new(&[1, 244, 0, 0, 0, 0, 0, 1, 0, 0])).unwrap_err();
    assert_eq!(error, DecodeError::UnknownKey { what: "API key", key: 500 });
}

#[test]
fn api_versions_responses_never_have_a_flexible_header() {
    assert_eq!(begin_response(ApiKey::ApiVersions, 3, 5), [0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(begin_response(ApiKey::Metadata, 9, 5), [0, 0, 0, 0, 0, 0, 0, 5, 0]);
    assert_eq!(begin_response(ApiKey::Metadata, 8, 5), [0, 0, 0, 0, 0, 0, 0, 5]);
    let refused = refuse_api_versions(7, 0, 4).unwrap();
    assert_eq!(refused, &b"\0\0\0\x10\0\0\0\x07\0\x23\0\0\0\x01\0\x12\0\0\0\x04"[..]);
}

#[test]
fn frames_say_their_length() {
    let frame = request(&MetadataRequest::default(), 1, 9, None).unwrap();
    assert_eq!(frame, &b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x09\xff\xff\0\0\0\0"[..]);
    let frame = request(&ApiVersionsRequest::default(), 0, 9, Some("")).unwrap();
    assert_eq!(frame, &b"\0\0\0\x0a\0\x12\0\0\0\0\0\x09\0\0"[..]);
    let mut r = Reader::new(&frame[4..]);
    RequestHeader::decode(&mut r).unwrap();
    assert_eq!(ApiVersionsRequest::decode(&mut r, 0).unwrap(), ApiVersionsRequest::default());
}
