//! Record batches: every codec both ways, everything a producer may get wrong, damaged bytes.

use bytes::Bytes;
use kafka_codec::ErrorCode;
use kafka_codec::records::{
    BATCH_HEADER_BYTES, Batch, BatchBuilder, BatchHeader, BatchRules, Batches, Compression,
    ControlRecordType, DecodedBatch, RecordError, TimestampType, compress, control_record_key, decompress,
    end_transaction_marker, parse_end_transaction_marker, records, set_base_offset, set_leader_epoch,
    set_log_append_time, set_max_timestamp, validate_producer_batch,
};

use super::bounded::peak_bytes;
use super::random::Random;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const RULES: BatchRules =
    BatchRules { batch_bytes_max: 1 << 20, decompressed_bytes_max: 4 << 20, keys_required: false };

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn build(codec: Compression, items: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    push_all(&mut builder, items);
    builder.build().unwrap()
}

fn push_all(builder: &mut BatchBuilder, items: &[Owned]) {
    for (timestamp, key, value, headers) in items {
        let headers = headers.iter().map(|(n, v)| (n.as_slice(), v.as_deref()));
        builder.push(*timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Owned>, RecordError> {
    let mut scratch = Vec::new();
    let batch = Batch::first(bytes)?;
    let walk = records(&batch, 4 << 20, &mut scratch)?;
    walk.map(|record| {
        let record = record?;
        let headers = record.headers.map(|(n, v)| (n.to_vec(), v.map(<[u8]>::to_vec))).collect();
        Ok((record.timestamp_ms, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers))
    })
    .collect()
}

fn random_items(random: &mut Random) -> Vec<Owned> {
    let bytes = |random: &mut Random, max| {
        let len = random.below(max);
        let bytes = random.likely(len);
        if random.chance(4) { None } else { Some(bytes) }
    };
    (0..=random.below(20))
        .map(|_| {
            let timestamp = 1_700_000_000_000 + random.below(100_000) as i64 - 50_000;
            let headers = (0..random.below(3))
                .map(|_| {
                    let name = bytes(random, 10).unwrap_or_default();
                    (name, bytes(random, 20))
                })
                .collect();
            (timestamp, bytes(random, 30), bytes(random, 3000), headers)
        })
        .collect()
}

fn small() -> Vec<Owned> {
    [&b"a"[..], b"bb", b"ccc"].iter().map(|v| (1_700_000_000_000, None, Some(v.to_vec()), vec![])).collect()
}

fn refused(bytes: &[u8], rules: &BatchRules) -> RecordError {
    validate_producer_batch(bytes, rules, &mut Vec::new()).expect_err("accepted")
}

/// Rewrites a header field and the checksum.
fn with(bytes: &[u8], at: usize, field: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at..at + field.len()].copy_from_slice(field);
    resealed(changed)
}

fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let timestamp = i64::from_be_bytes(bytes[35..43].try_into().unwrap());
    set_max_timestamp(&mut bytes, timestamp);
    bytes
}

/// A batch of `count` records whose payload is given raw.
fn with_payload(codec: Compression, count: i32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = build(Compression::None, &small());
    bytes.truncate(BATCH_HEADER_BYTES);
    bytes.extend_from_slice(payload);
    bytes[22] = codec.id();
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    resealed(bytes)
}

#[test]
fn the_bytes_of_a_batch() {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(5).leader_epoch(2).producer(9, 1, 4);
    builder.push(1000, Some(b"k"), Some(b"v"), [(&b"h"[..], Some(&b"x"[..]))].into_iter()).unwrap();
    builder.push(1010, None, None, std::iter::empty()).unwrap();
    let bytes = builder.build().unwrap();
    let mut expected = Vec::new();
    expected.extend_from_slice(&5i64.to_be_bytes());
    expected.extend_from_slice(&71i32.to_be_bytes());
    expected.extend_from_slice(&2i32.to_be_bytes());
    expected.push(2);
    expected.extend_from_slice(&bytes[17..21]);
    expected.extend_from_slice(b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\x03\xf2");
    expected.extend_from_slice(b"\0\0\0\0\0\0\0\x09\0\x01\0\0\0\x04\0\0\0\x02");
    expected.extend_from_slice(b"\x18\0\0\0\x02k\x02v\x02\x02h\x02x");
    expected.extend_from_slice(b"\x0c\0\x14\x02\x01\x01\0");
    let length = (expected.len() - 12) as i32;
    expected[8..12].copy_from_slice(&length.to_be_bytes());
    assert_eq!(bytes, expected);
    let batch = Batch::first(&bytes).unwrap();
    batch.check_crc().unwrap();
    let header = batch.header;
    assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (5, 6, 7));
    assert_eq!((header.producer_id, header.producer_epoch, header.last_sequence()), (9, 1, 5));
    assert_eq!(header.size_bytes(), bytes.len());
}

#[test]
fn every_codec_round_trips() {
    let mut random = Random::new(11);
    for _ in 0..60 {
        let items = random_items(&mut random);
        for codec in CODECS {
            let bytes = build(codec, &items);
            assert_eq!(read(&bytes).unwrap(), items, "{codec:?}");
            let facts = validate_producer_batch(&bytes, &RULES, &mut Vec::new()).unwrap();
            assert_eq!(facts.header.record_count as usize, items.len());
            assert_eq!(facts.max_timestamp_ms, items.iter().map(|i| i.0).max().unwrap());
            assert_eq!(facts.min_timestamp_ms, items.iter().map(|i| i.0).min().unwrap());
            assert_eq!(facts.header.max_timestamp, facts.max_timestamp_ms);
            assert_eq!(items[facts.max_timestamp_delta as usize].0, facts.max_timestamp_ms);
        }
    }
}

#[test]
fn levels_are_the_codecs_own() {
    let input = b"level ".repeat(1000);
    for (codec, levels) in [(Compression::Gzip, [1, 9]), (Compression::Zstd, [1, 19])] {
        for level in levels {
            let (mut packed, mut out) = (Vec::new(), Vec::new());
            compress(codec, Some(level), &input, &mut packed).unwrap();
            decompress(codec, &packed, input.len(), &mut out).unwrap();
            assert_eq!(out, input);
        }
    }
    assert!(compress(Compression::Gzip, Some(99), &input, &mut Vec::new()).is_err());
}

#[test]
fn foreign_framings_are_read() {
    let input = b"some text, some text, some text".repeat(5000);
    let mut out = Vec::new();
    // Raw Snappy, as some producers send it, …
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    decompress(Compression::Snappy, &raw, input.len(), &mut out).unwrap();
    assert_eq!(out, input);
    // … two gzip members, two LZ4 frames, two zstd frames one after the other, …
    let (first, second) = input.split_at(1000);
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let mut packed = Vec::new();
        compress(codec, None, first, &mut packed).unwrap();
        compress(codec, None, second, &mut packed).unwrap();
        decompress(codec, &packed, input.len(), &mut out).unwrap();
        assert_eq!(out, input, "{codec:?}");
    }
}

/// A frame with all that a frame can have: linked blocks, their checksums and one of the content, and its size.
fn full_lz4_frame(input: &[u8]) -> Vec<u8> {
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Linked)
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .content_checksum(true)
        .block_checksums(true)
        .content_size(Some(input.len() as u64));
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    std::io::Write::write_all(&mut encoder, input).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lz4_frames_of_every_kind_are_read_and_damaged_ones_refused() {
    let mut random = Random::new(3);
    let text: Vec<u8> = (0..300_000).map(|i| b"abcdefgh"[(i / 7 + random.below(2)) % 8]).collect();
    let noise: Vec<u8> = (0..100_000).map(|_| random.next() as u8).collect();
    let mut out = Vec::new();
    for input in [&text, &noise, &Vec::new()] {
        let frame = full_lz4_frame(input);
        // A frame for somebody else's data is skipped.
        let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"own", &frame].concat();
        for packed in [&frame, &skipped] {
            decompress(Compression::Lz4, packed, input.len(), &mut out).unwrap();
            assert!(out == *input);
            if !input.is_empty() {
                let max = input.len() - 1;
                let result = decompress(Compression::Lz4, packed, max, &mut out);
                assert_eq!(result, Err(RecordError::DecompressedTooLarge { max }));
            }
        }
        // Whatever byte is hit, a checksum or the format itself tells.
        for _ in 0..300 {
            let mut damaged = frame.clone();
            let at = random.below(frame.len());
            damaged[at] ^= 1 << random.below(8);
            let result = decompress(Compression::Lz4, &damaged, 1 << 20, &mut out);
            assert!(result.is_err(), "byte {at} of {}", frame.len());
            assert!(decompress(Compression::Lz4, &frame[..at], 1 << 20, &mut out).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn what_kafka_writes_is_what_we_write() {
    let mut snappy = Vec::new();
    compress(Compression::Snappy, None, &[7; 70_000], &mut snappy).unwrap();
    assert_eq!(&snappy[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let mut lz4 = Vec::new();
    compress(Compression::Lz4, None, b"x", &mut lz4).unwrap();
    // Magic; version 1, independent blocks, no checksums; blocks of 64 KiB.
    assert_eq!(&lz4[..6], b"\x04\x22\x4d\x18\x60\x40");
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 32 << 20];
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut packed = Vec::new();
        compress(codec, None, &zeros, &mut packed).unwrap();
        let max = 1 << 20;
        let (result, bytes) = peak_bytes(|| decompress(codec, &packed, max, &mut Vec::new()));
        assert_eq!(result, Err(RecordError::DecompressedTooLarge { max }), "{codec:?}");
        assert!(bytes < 8 * max, "{codec:?}: {bytes} bytes");
        let bomb = with_payload(codec, 3, &packed);
        let rules = BatchRules { batch_bytes_max: usize::MAX, decompressed_bytes_max: max, ..RULES };
        assert_eq!(refused(&bomb, &rules).error_code(), ErrorCode::MessageTooLarge);
    }
    // A raw block that claims more than its bytes can hold.
    let claim = b"\xff\xff\xff\xff\x07abc";
    let (result, bytes) = peak_bytes(|| decompress(Compression::Snappy, claim, usize::MAX, &mut Vec::new()));
    assert!(result.is_err());
    assert!(bytes < 1000, "{bytes}");
}

#[test]
fn a_tiny_lz4_block_costs_little_however_large_its_frame_lets_it_be() {
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Independent)
        .block_size(lz4_flex::frame::BlockSize::Max4MB);
    let head = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    let mut packed = { head }.finish().unwrap();
    packed.truncate(7);
    // One literal, no match.
    let block = [2, 0, 0, 0, 0x10, b'x'];
    packed.extend(block.repeat(1000));
    packed.extend([0; 4]);
    let mut out = Vec::new();
    let (result, bytes) = peak_bytes(|| decompress(Compression::Lz4, &packed, 16 << 20, &mut out));
    result.unwrap();
    assert_eq!(out, [b'x'; 1000]);
    assert!(bytes < 1 << 16, "{bytes}");
}

#[test]
fn old_formats_and_garbage_have_their_own_errors() {
    let good = build(Compression::None, &small());
    for magic in [0, 1] {
        let mut old = good.clone();
        old[16] = magic;
        assert_eq!(BatchHeader::parse(&old), Err(RecordError::OldMagic(magic as i8)));
        assert_eq!(refused(&old, &RULES).error_code(), ErrorCode::UnsupportedForMessageFormat);
    }
    for magic in [3, 9, 127, 255u8] {
        let mut odd = good.clone();
        odd[16] = magic;
        assert_eq!(refused(&odd, &RULES), RecordError::UnknownMagic(magic as i8));
    }
    for length in [0, -1, 5, 48, i32::MIN] {
        let mut odd = good.clone();
        odd[8..12].copy_from_slice(&i32::to_be_bytes(length));
        assert_eq!(refused(&odd, &RULES), RecordError::BatchLength(length));
    }
    for length in [1_000_000, i32::MAX] {
        let mut odd = good.clone();
        odd[8..12].copy_from_slice(&length.to_be_bytes());
        assert!(matches!(refused(&odd, &RULES), RecordError::Truncated { .. }));
    }
    for cut in [0, 1, 11, 12, 16, 17, 20, 60, good.len() - 1] {
        assert!(matches!(refused(&good[..cut], &RULES), RecordError::Truncated { .. }), "{cut}");
    }
}

#[test]
fn producers_mistakes_are_refused() {
    let good = build(Compression::None, &small());
    let code = |bytes: &[u8]| refused(bytes, &RULES).error_code();
    let mut bad_crc = good.clone();
    bad_crc[17..21].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(code(&bad_crc), ErrorCode::CorruptMessage);
    for count in [0, 1, 2, 4, -1, i32::MAX] {
        assert_eq!(
            code(&with(&good, 57, &i32::to_be_bytes(count))),
            ErrorCode::InvalidRecord,
            "count {count}"
        );
    }
    for delta in [0, 1, 5, -1, i32::MAX] {
        assert_eq!(
            code(&with(&good, 23, &i32::to_be_bytes(delta))),
            ErrorCode::InvalidRecord,
            "delta {delta}"
        );
    }
    // Count and delta agree with each other, but not with the records.
    for count in [1i32, 2, 4, 9] {
        let odd = with(&with(&good, 57, &count.to_be_bytes()), 23, &(count - 1).to_be_bytes());
        assert_eq!(code(&odd), ErrorCode::InvalidRecord, "count {count}");
    }
    for (attributes, expected) in [
        (0x20i16, ErrorCode::InvalidRecord),
        (0x10, ErrorCode::InvalidRecord),
        (0x08, ErrorCode::InvalidRecord),
        (0x40, ErrorCode::InvalidRecord),
        (0x80, ErrorCode::InvalidRecord),
        (5, ErrorCode::UnsupportedCompressionType),
        (6, ErrorCode::UnsupportedCompressionType),
        (7, ErrorCode::UnsupportedCompressionType),
    ] {
        assert_eq!(code(&with(&good, 21, &attributes.to_be_bytes())), expected, "attributes {attributes:#x}");
    }
    // A producer id without epoch and sequence.
    assert_eq!(code(&with(&good, 43, &7i64.to_be_bytes())), ErrorCode::InvalidRecord);
    assert_eq!(code(&with(&good, 43, &(-2i64).to_be_bytes())), ErrorCode::InvalidRecord);
    let small_rules = BatchRules { batch_bytes_max: good.len() - 1, ..RULES };
    assert_eq!(refused(&good, &small_rules).error_code(), ErrorCode::MessageTooLarge);
    let keyed = BatchRules { keys_required: true, ..RULES };
    assert_eq!(refused(&good, &keyed), RecordError::KeyMissing { index: 0 });
    // More bytes behind the batch are the caller's: the first batch is fine.
    assert!(validate_producer_batch(&[good.clone(), good].concat(), &RULES, &mut Vec::new()).is_ok());
}

#[test]
fn malformed_records_are_refused_in_every_codec() {
    let record = |delta: u8| vec![0x0e, 0, 0, delta << 1, 1, 2, b'x', 0];
    let good = [record(0), record(1)].concat();
    let bad: [(&str, i32, Vec<u8>); 10] = [
        ("record length", 1, [&[0x80, 0x89, 0x7a][..], &[b'x'; 20]].concat()),
        ("negative record length", 1, vec![1]),
        ("key length -5", 1, vec![16, 0, 0, 0, 9, 2, b'x', 0, 0]),
        ("header count", 1, vec![18, 0, 0, 0, 1, 2, b'x', 0x80, 0x89, 0x7a]),
        ("null header name", 1, vec![0x12, 0, 0, 0, 1, 2, b'x', 2, 1, 1]),
        ("trailing bytes", 2, [&good[..], b"tail"].concat()),
        ("trailing bytes in the record", 1, vec![16, 0, 0, 0, 1, 2, b'x', 0, 0]),
        ("offset deltas 0, 7", 2, [record(0), record(7)].concat()),
        ("too few", 3, good.clone()),
        ("endless varint", 1, vec![0xff; 30]),
    ];
    for codec in CODECS {
        let packed = |payload: &[u8]| {
            let mut out = Vec::new();
            compress(codec, None, payload, &mut out).unwrap();
            out
        };
        let fine = with_payload(codec, 2, &packed(&good));
        validate_producer_batch(&fine, &RULES, &mut Vec::new()).unwrap();
        for (what, count, payload) in &bad {
            let batch = with_payload(codec, *count, &packed(payload));
            assert_eq!(refused(&batch, &RULES).error_code(), ErrorCode::InvalidRecord, "{what}, {codec:?}");
        }
    }
}

#[test]
fn corrupt_compressed_data_is_refused() {
    let mut random = Random::new(5);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        for _ in 0..50 {
            let garbage = random.bytes(100);
            refused(&with_payload(codec, 3, &garbage), &RULES);
        }
        let whole = build(codec, &small());
        for cut in 1..whole.len() - BATCH_HEADER_BYTES {
            refused(&resealed(whole[..whole.len() - cut].to_vec()), &RULES);
        }
        refused(&with_payload(codec, 3, &[]), &RULES);
    }
}

#[test]
fn damaged_batches_never_panic() {
    let mut random = Random::new(6);
    for round in 0..4000 {
        let codec = CODECS[round % CODECS.len()];
        let items = if round % 7 == 0 { random_items(&mut random) } else { small() };
        let mut bytes = build(codec, &items);
        random.mutate(&mut bytes);
        if bytes.len() > BATCH_HEADER_BYTES && round % 2 == 0 {
            // So that the damage is not found by the checksum.
            bytes = resealed(bytes);
        }
        let (_, peak) = peak_bytes(|| validate_producer_batch(&bytes, &RULES, &mut Vec::new()).is_ok());
        assert!(peak < 16 << 20, "{peak} bytes");
        let _ = read(&bytes);
        for batch in Batches::new(&bytes).flatten() {
            let _ = batch.check_crc();
            let mut scratch = Vec::new();
            if let Ok(walk) = records(&batch, 1 << 20, &mut scratch) {
                for record in walk.flatten() {
                    let _ = ControlRecordType::from_key(record.key.unwrap_or_default());
                    let _ = parse_end_transaction_marker(record.value.unwrap_or_default());
                    record.headers.for_each(drop);
                }
            }
        }
    }
}

#[test]
fn batches_are_walked_up_to_an_incomplete_one() {
    let (a, b) = (build(Compression::None, &small()), build(Compression::Zstd, &small()));
    let mut bytes = [a.clone(), b.clone()].concat();
    bytes.extend_from_slice(&a[..a.len() - 1]);
    let mut walk = Batches::new(&bytes);
    assert_eq!(walk.next().unwrap().unwrap().bytes, a);
    assert_eq!(walk.next().unwrap().unwrap().bytes, b);
    assert!(walk.next().is_none());
    assert_eq!(walk.rest(), &a[..a.len() - 1]);
    let mut old = a.clone();
    old[16] = 1;
    let mut walk = Batches::new(&old);
    assert!(matches!(walk.next(), Some(Err(RecordError::OldMagic(1)))));
    assert!(walk.next().is_none());
}

#[test]
fn a_broker_stamps_batches_in_place() {
    let mut bytes = build(Compression::Lz4, &small());
    let before = bytes.clone();
    set_base_offset(&mut bytes, 1 << 40);
    set_leader_epoch(&mut bytes, 17);
    // Neither is covered by the checksum.
    assert_eq!(bytes[16..], before[16..]);
    let batch = Batch::first(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!((batch.header.base_offset, batch.header.leader_epoch), (1 << 40, 17));
    set_log_append_time(&mut bytes, 1234);
    let batch = Batch::first(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(batch.header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.header.compression(), Ok(Compression::Lz4));
    assert!(read(&bytes).unwrap().iter().all(|record| record.0 == 1234));
}

#[test]
fn decoded_batches_share_memory() {
    for codec in CODECS {
        let bytes = Bytes::from(build(codec, &small()));
        let decoded = DecodedBatch::decode(&bytes, 1 << 20).unwrap();
        let values: Vec<Bytes> =
            decoded.records().map(|r| decoded.share(r.unwrap().value.unwrap_or_default())).collect();
        assert_eq!(values, ["a", "bb", "ccc"]);
        if codec == Compression::None {
            assert!(bytes.as_ptr_range().contains(&values[2].as_ptr()));
        }
        assert_eq!(decoded.share(b"from elsewhere"), "from elsewhere");
        assert!(decoded.share(b"").is_empty());
    }
}

#[test]
fn compacted_batches_have_gaps() {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(100);
    builder.push_at(3, 10, Some(b"k"), Some(b"v"), std::iter::empty()).unwrap();
    builder.push_at(7, 5, Some(b"l"), None, std::iter::empty()).unwrap();
    assert!(builder.push_at(7, 5, None, None, std::iter::empty()).is_err());
    builder.set_last_offset_delta(9);
    let bytes = builder.build().unwrap();
    let mut scratch = Vec::new();
    let batch = Batch::first(&bytes).unwrap();
    assert_eq!(
        (batch.header.record_count, batch.header.last_offset(), batch.header.max_timestamp),
        (2, 109, 10)
    );
    let offsets: Vec<i64> =
        records(&batch, 1 << 20, &mut scratch).unwrap().map(|r| r.unwrap().offset).collect();
    assert_eq!(offsets, [103, 107]);
    assert!(matches!(refused(&bytes, &RULES), RecordError::Count { .. }));
}

#[test]
fn transaction_markers() {
    for commit in [true, false] {
        let bytes = end_transaction_marker(5, 2, commit, 8, 99).unwrap();
        let batch = Batch::first(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert!(batch.header.is_control() && batch.header.is_transactional());
        assert_eq!((batch.header.producer_id, batch.header.base_sequence), (5, -1));
        assert_eq!(batch.header.last_sequence(), -1);
        let mut scratch = Vec::new();
        let record = records(&batch, 100, &mut scratch).unwrap().next().unwrap().unwrap();
        let kind = ControlRecordType::from_key(record.key.unwrap()).unwrap();
        assert_eq!(kind, if commit { ControlRecordType::Commit } else { ControlRecordType::Abort });
        assert_eq!(record.key.unwrap(), control_record_key(kind));
        assert_eq!(parse_end_transaction_marker(record.value.unwrap()), Ok(8));
        assert_eq!(refused(&bytes, &RULES).error_code(), ErrorCode::InvalidRecord);
    }
    assert_eq!(ControlRecordType::from_key(&[0, 0, 0, 77]), Ok(ControlRecordType::Unknown(77)));
    assert!(ControlRecordType::from_key(&[0xff, 0xff, 0, 0]).is_err());
    assert!(ControlRecordType::from_key(&[0]).is_err());
}

#[test]
fn sequences_wrap() {
    let mut builder = BatchBuilder::new(Compression::None).producer(1, 0, i32::MAX - 1);
    push_all(&mut builder, &small());
    let bytes = builder.build().unwrap();
    assert_eq!(Batch::first(&bytes).unwrap().header.last_sequence(), 0);
}
