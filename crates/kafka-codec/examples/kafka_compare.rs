//! Our half of the comparison with Kafka's own codecs; `cargo xtask codec-compare` runs it with the other half,
//! the Java programs in `tests/java`.
//!
//! `kafka_compare messages FILE` decodes what Kafka encoded, encodes it again and compares the bytes.
//! `kafka_compare batches FILE OUT` reads Kafka's record batches, compares what is in them with what Kafka sees, and
//! writes the same records as batches of ours to OUT, for Kafka to read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a comparison fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use kafka_codec::fetch::{FetchRequest, FetchResponse, Part};
use kafka_codec::frame::LENGTH_BYTES;
use kafka_codec::messages::group_records::{GroupRecordKey, GroupRecordValue};
use kafka_codec::messages::metadata::MetadataRecord;
use kafka_codec::messages::{Visitor, visit_all};
use kafka_codec::produce::{ProduceRequest, ProduceResponse};
use kafka_codec::records::{
    Batch, BatchBuilder, BatchRules, Compression, TimestampType, end_transaction_marker, records,
    validate_producer_batch,
};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, ErrorCode, Message, Uuid};

const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["messages", file] => compare_messages(&std::fs::read_to_string(file).unwrap()),
        ["batches", file, out] => {
            let ours = compare_batches(&std::fs::read_to_string(file).unwrap());
            std::fs::write(out, ours).unwrap();
        }
        _ => panic!("usage: kafka_compare messages FILE | batches FILE OUT"),
    }
}

fn from_hex(text: &str) -> Bytes {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is done with one line for one message type: (version, bytes, whether it is the default instance).
type Compare = fn(i16, &Bytes, bool);

/// The comparison of every message by its name.
struct Table(BTreeMap<&'static str, Compare>);

impl Visitor for Table {
    fn visit<M: Message>(&mut self) {
        self.0.insert(M::NAME, compare::<M>);
    }
}

fn compare<M: Message>(version: i16, bytes: &Bytes, is_default: bool) {
    let mut r = Reader::shared(bytes);
    let message = M::decode(&mut r, version)
        .unwrap_or_else(|e| panic!("{} v{version}: {e}: {}", M::NAME, to_hex(bytes)));
    r.finish().unwrap();
    let mut again = Vec::new();
    message.encode(&mut again, version).unwrap();
    assert_eq!(to_hex(&again), to_hex(bytes), "{} v{version}: {message:#?}", M::NAME);
    if is_default {
        let mut default = Vec::new();
        M::default().encode(&mut default, version).unwrap();
        assert_eq!(to_hex(&default), to_hex(bytes), "default of {} v{version}", M::NAME);
    }
}

fn no_default<M: Message>() {
    assert!(
        M::VERSIONS.into_iter().any(|v| M::default().encode(&mut Vec::new(), v).is_err()),
        "{}: Kafka cannot encode its default",
        M::NAME
    );
}

fn compare_messages(lines: &str) {
    let mut table = Table(BTreeMap::new());
    visit_all(&mut table);
    let by_name =
        |name: &str| table.0.get(name).or_else(|| table.0.get(name.strip_suffix("Data").unwrap_or(name)));
    let (mut messages, mut framed, mut by_hand) = (0, 0, 0);
    let mut versions = BTreeSet::new();
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [kind @ ("random" | "tagged" | "default"), name, version, hex] => {
                let compare = by_name(name).unwrap_or_else(|| panic!("no message {name}"));
                let (version, bytes) = (version.parse().unwrap(), from_hex(hex));
                compare(version, &bytes, kind == "default");
                by_hand += usize::from(kind != "tagged" && compare_by_hand(name, version, &bytes));
                versions.insert((name.to_owned(), version));
                messages += 1;
            }
            ["no-default", name, _version] => {
                struct Find<'a>(&'a str);
                impl Visitor for Find<'_> {
                    fn visit<M: Message>(&mut self) {
                        if self.0 == M::NAME || self.0.strip_suffix("Data") == Some(M::NAME) {
                            no_default::<M>();
                        }
                    }
                }
                visit_all(&mut Find(name));
            }
            _ => {
                compare_framed(&words);
                framed += 1;
            }
        }
    }
    println!(
        "{messages} instances of {} versions of messages and {framed} records in their frames come out as Kafka \
         wrote them; {by_hand} of them also through the hand-written codecs",
        versions.len()
    );
    assert!(messages > 0);
}

/// Records with type and version around them.
fn compare_framed(words: &[&str]) {
    let mut again = Vec::new();
    let hex = match words {
        ["metadata", version, hex] => {
            let (record, read) = MetadataRecord::decode_value(&mut Reader::new(&from_hex(hex))).unwrap();
            assert_eq!(read.to_string(), *version);
            record.encode_value(&mut again, read).unwrap();
            hex
        }
        ["group-key", hex] => {
            GroupRecordKey::decode(&mut Reader::new(&from_hex(hex))).unwrap().encode(&mut again).unwrap();
            hex
        }
        ["group-value", record_type, hex] => {
            let bytes = from_hex(hex);
            let (value, version) =
                GroupRecordValue::decode(&mut Reader::new(&bytes), record_type.parse().unwrap()).unwrap();
            value.encode(&mut again, version).unwrap();
            hex
        }
        _ => panic!("what is {words:?}?"),
    };
    assert_eq!(to_hex(&again), **hex, "{words:?}");
}

/// Produce and fetch through their hand-written codecs; false for other messages.
fn compare_by_hand(name: &str, version: i16, bytes: &Bytes) -> bool {
    let r = &mut Reader::shared(bytes);
    let body = match name {
        "ProduceRequestData" => {
            let request = ProduceRequest::decode(r, version).unwrap();
            let frame = request.encode_frame(version, 0, None).unwrap().concat();
            body_of_request(frame, ApiKey::Produce, version)
        }
        "ProduceResponseData" => {
            let mut w = Vec::new();
            ProduceResponse::decode(r, version).unwrap().encode(&mut w, version).unwrap();
            w
        }
        "FetchRequestData" => {
            let mut w = Vec::new();
            FetchRequest::decode(r, version).unwrap().encode(&mut w, version).unwrap();
            w
        }
        "FetchResponseData" => {
            let response = FetchResponse::decode(r, version).unwrap();
            let all: Vec<&Bytes> = response
                .topics
                .iter()
                .flat_map(|t| &t.partitions)
                .filter_map(|p| p.records.as_ref())
                .collect();
            let mut frame = Vec::new();
            for part in response.encode_frame(version, 0).unwrap() {
                match part {
                    Part::Bytes(bytes) => frame.extend_from_slice(&bytes),
                    Part::Records { index, .. } => frame.extend_from_slice(all[index]),
                }
            }
            let header = if ApiKey::Fetch.is_flexible(version) { 5 } else { 4 };
            frame.split_off(LENGTH_BYTES + header)
        }
        _ => return false,
    };
    assert!(r.finish().is_ok());
    assert_eq!(to_hex(&body), to_hex(bytes), "{name} v{version} by hand");
    true
}

/// Header without client id: key, version, correlation id, null, and tagged fields when flexible.
fn body_of_request(mut frame: Vec<u8>, key: ApiKey, version: i16) -> Vec<u8> {
    frame.split_off(LENGTH_BYTES + if key.is_flexible(version) { 11 } else { 10 })
}

fn compare_batches(lines: &str) -> String {
    let mut ours = String::new();
    let (mut batches, mut markers, mut errors, mut apis, mut ids) = (0, 0, 0, 0, 0);
    for line in lines.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        match kind {
            "batch" => {
                let [codec, hex, text] = rest.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
                compare_batch(codec.parse().unwrap(), &from_hex(hex), text, &mut ours);
                batches += 1;
            }
            "marker" => {
                let w: Vec<&str> = rest.split(' ').collect();
                let bytes = end_transaction_marker(
                    w[1].parse().unwrap(),
                    w[2].parse().unwrap(),
                    w[0] == "true",
                    w[3].parse().unwrap(),
                    w[4].parse().unwrap(),
                );
                assert_eq!(to_hex(&bytes.unwrap()), w[5], "transaction marker {rest}");
                markers += 1;
            }
            "uuid" => {
                let (hex, text) = rest.split_once(' ').unwrap();
                let id = Uuid(from_hex(hex)[..].try_into().unwrap());
                assert_eq!((id.to_string().as_str(), text.parse()), (text, Ok(id)));
                ids += 1;
            }
            "error" => {
                let w: Vec<&str> = rest.splitn(4, ' ').collect();
                let error = ErrorCode::from_code(w[0].parse().unwrap()).expect(w[1]);
                let known = (error.name(), error.is_retriable().to_string(), error.message());
                assert_eq!(known, (w[1], w[2].to_owned(), w[3]));
                errors += 1;
            }
            "api" => {
                compare_api(rest);
                apis += 1;
            }
            _ => panic!("what is {line:?}?"),
        }
    }
    assert_eq!(errors, ErrorCode::ALL.len());
    assert_eq!(apis, ApiKey::ALL.iter().filter(|k| k.versions().is_some()).count());
    println!(
        "{batches} batches, {markers} transaction markers, {ids} ids, {errors} error codes and {apis} APIs are \
         what Kafka says"
    );
    ours
}

fn compare_api(text: &str) {
    let words: Vec<&str> = text.split(' ').collect();
    let key = ApiKey::from_i16(words[0].parse().unwrap()).expect(words[1]);
    assert_eq!(key.name(), words[1]);
    let versions = words[2].parse().unwrap()..=words[3].parse().unwrap();
    assert_eq!(key.versions(), Some(versions.clone()), "{key}");
    for (version, headers) in versions.zip(&words[4..]) {
        let ours = format!("{}{}", key.request_header_version(version), key.response_header_version(version));
        assert_eq!(ours, *headers, "headers of {key} v{version}");
    }
}

fn compare_batch(codec: Compression, bytes: &[u8], text: &str, ours: &mut String) {
    assert_eq!(describe(bytes), text, "{codec:?}");
    let batch = Batch::first(bytes).unwrap();
    assert_eq!(batch.header.compression(), Ok(codec));
    let create_time = batch.header.timestamp_type() == TimestampType::CreateTime;
    let rules = BatchRules {
        batch_bytes_max: usize::MAX,
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        keys_required: false,
    };
    let verdict = validate_producer_batch(bytes, &rules, &mut Vec::new());
    assert_eq!(verdict.is_ok(), create_time, "{verdict:?}");
    let rebuilt = rebuild(&batch, codec);
    if codec == Compression::None {
        assert_eq!(to_hex(&rebuilt), to_hex(bytes));
    }
    writeln!(ours, "batch {} {} {text}", codec.name(), to_hex(&rebuilt)).unwrap();
}

/// The same records in a batch of ours.
fn rebuild(batch: &Batch<'_>, codec: Compression) -> Vec<u8> {
    let header = &batch.header;
    let mut builder = BatchBuilder::new(codec)
        .base_offset(header.base_offset)
        .leader_epoch(header.leader_epoch)
        .producer(header.producer_id, header.producer_epoch, header.base_sequence);
    if header.is_transactional() {
        builder = builder.transactional();
    }
    let append_time = header.timestamp_type() == TimestampType::LogAppendTime;
    if append_time {
        builder = builder.log_append_time(header.max_timestamp);
    }
    let mut scratch = Vec::new();
    // The timestamps that the records themselves hold.
    let mut create_time = *batch;
    create_time.header.attributes &= !0x08;
    for record in records(&create_time, DECOMPRESSED_BYTES_MAX, &mut scratch).unwrap() {
        let record = record.unwrap();
        builder.push(record.timestamp_ms, record.key, record.value, record.headers).unwrap();
    }
    builder.build().unwrap()
}

/// All that a reader sees of a batch, in the words of `Batches.java`.
fn describe(bytes: &[u8]) -> String {
    let or_null = |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |b| format!("x{}", to_hex(b)));
    let batch = Batch::first(bytes).unwrap();
    batch.check_crc().unwrap();
    let h = &batch.header;
    let mut text = format!(
        "{} {} {} {} {} {} {} {} {} {} {}",
        h.base_offset,
        h.last_offset(),
        h.leader_epoch,
        h.max_timestamp,
        h.producer_id,
        h.producer_epoch,
        h.base_sequence,
        h.last_sequence(),
        h.is_transactional(),
        h.is_control(),
        h.timestamp_type() == TimestampType::LogAppendTime,
    );
    let mut scratch = Vec::new();
    for record in records(&batch, DECOMPRESSED_BYTES_MAX, &mut scratch).unwrap() {
        let record = record.unwrap();
        let (key, value) = (or_null(record.key), or_null(record.value));
        write!(text, " | {} {} {key} {value}", record.offset, record.timestamp_ms).unwrap();
        for (name, value) in record.headers {
            write!(text, " {}={}", String::from_utf8_lossy(name), or_null(value)).unwrap();
        }
    }
    text
}
