//! Primitive types: every encoding both ways, and what is refused.

use bytes::Bytes;
use kafka_codec::wire::{self, Reader};
use kafka_codec::{DecodeError, EncodeError};

use super::random::Random;

#[test]
fn varints_round_trip_in_their_shortest_form() {
    let mut random = Random::new(3);
    let mut numbers: Vec<i64> = vec![0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN];
    numbers.extend((0..1000).map(|_| random.next() as i64 >> random.below(64)));
    for number in numbers {
        let mut w = Vec::new();
        wire::put_varlong(&mut w, number);
        assert_eq!(w.len(), wire::varlong_len(number), "{number}");
        assert_eq!(Reader::new(&w).varlong(), Ok(number));
        let mut w = Vec::new();
        wire::put_varint(&mut w, number as i32);
        assert_eq!(w.len(), wire::varlong_len(i64::from(number as i32)));
        assert_eq!(Reader::new(&w).varint(), Ok(number as i32));
        let mut w = Vec::new();
        wire::put_uvarint(&mut w, number as u32);
        assert_eq!(Reader::new(&w).uvarint(), Ok(number as u32));
        let mut w = Vec::new();
        wire::put_uvarlong(&mut w, number as u64);
        assert_eq!(Reader::new(&w).uvarlong(), Ok(number as u64));
    }
}

#[test]
fn overlong_varints_are_refused() {
    let varint = Err(DecodeError::Varint { position: 0 });
    assert_eq!(Reader::new(&[0xff; 20]).uvarint(), varint);
    // 33 bits.
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(), varint);
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
    assert_eq!(Reader::new(&[0x80; 6]).uvarint(), varint);
    // 65 bits.
    let mut long = [0xff; 10];
    long[9] = 3;
    assert_eq!(Reader::new(&long).uvarlong(), Err(DecodeError::Varint { position: 0 }));
    long[9] = 1;
    assert_eq!(Reader::new(&long).uvarlong(), Ok(u64::MAX));
    let cut = Reader::new(&[0x80]).uvarint();
    assert_eq!(cut, Err(DecodeError::Truncated { position: 1, needed: 1, remaining: 0 }));
}

#[test]
fn strings_and_bytes_in_both_encodings() {
    for flexible in [false, true] {
        for text in [None, Some(""), Some("köln"), Some(&*"x".repeat(wire::STRING_BYTES_MAX))] {
            let mut w = Vec::new();
            wire::put_nullable_string(&mut w, text, flexible).unwrap();
            let mut r = Reader::new(&w);
            assert_eq!(r.nullable_str(flexible), Ok(text));
            r.finish().unwrap();
            let mut w = Vec::new();
            wire::put_nullable_bytes(&mut w, text.map(str::as_bytes), flexible).unwrap();
            let mut r = Reader::new(&w);
            assert_eq!(r.nullable_bytes(flexible), Ok(text.map(|t| Bytes::copy_from_slice(t.as_bytes()))));
            r.finish().unwrap();
        }
        let length = wire::STRING_BYTES_MAX + 1;
        let refused = wire::put_string(&mut Vec::new(), &"x".repeat(length), flexible);
        assert_eq!(refused, Err(EncodeError::TooLong { what: "string", length }));
    }
    // Compact lengths reach further than strings may.
    let mut long = Vec::new();
    wire::put_uvarint(&mut long, wire::STRING_BYTES_MAX as u32 + 2);
    long.resize(long.len() + wire::STRING_BYTES_MAX + 1, b'x');
    assert!(matches!(Reader::new(&long).str(true), Err(DecodeError::Length { what: "string", .. })));
}

#[test]
fn bad_lengths_have_their_own_errors() {
    let string = |bytes: &[u8]| Reader::new(bytes).string(false).unwrap_err();
    assert_eq!(string(&[0xff, 0xff]), DecodeError::Null { what: "string", position: 2 });
    assert_eq!(string(&[0xff, 0xfe]), DecodeError::Length { what: "string", length: -2, position: 2 });
    assert_eq!(string(&[0, 5, b'x']), DecodeError::Truncated { position: 2, needed: 5, remaining: 1 });
    assert_eq!(string(&[0, 1, 0xff]), DecodeError::Utf8 { position: 2 });
    assert_eq!(Reader::new(&[0]).bytes(true), Err(DecodeError::Null { what: "bytes", position: 1 }));
    let array = |bytes: &[u8], min| Reader::new(bytes).array_len(false, min);
    assert_eq!(array(&[0, 0, 0, 2, 1, 1, 1, 1], 2), Ok(2));
    assert_eq!(
        array(&[0, 0, 0, 3, 1, 1, 1, 1], 2),
        Err(DecodeError::Length { what: "array", length: 3, position: 4 })
    );
    assert_eq!(array(&[0xff; 4], 1), Err(DecodeError::Null { what: "array", position: 4 }));
    let trailing = Reader::new(&[1, 2, 3]);
    assert_eq!(trailing.finish(), Err(DecodeError::Trailing { position: 0, remaining: 3 }));
}

#[test]
fn tagged_fields_are_checked() {
    let read = |bytes: &[u8]| {
        let mut known = None;
        let unknown = Reader::new(bytes).tagged(&mut |tag, r| {
            if tag == 1 {
                known = Some(r.i16()?);
            }
            Ok(tag == 1)
        })?;
        Ok((known, unknown.as_slice().to_vec()))
    };
    assert_eq!(read(&[0]), Ok((None, vec![])));
    let both = read(&[2, 1, 2, 0, 7, 9, 1, 0xaa]);
    assert_eq!(both, Ok((Some(7), vec![(9, Bytes::from_static(&[0xaa]))])));
    // Out of order, twice, longer and shorter than what is in it, more than there is room for.
    assert_eq!(read(&[2, 9, 0, 1, 2, 0, 7]), Err(DecodeError::TagOrder { tag: 1, position: 4 }));
    assert_eq!(read(&[2, 9, 0, 9, 0]), Err(DecodeError::TagOrder { tag: 9, position: 4 }));
    assert_eq!(read(&[1, 1, 3, 0, 7, 5]), Err(DecodeError::Trailing { position: 5, remaining: 1 }));
    assert_eq!(read(&[1, 1, 1, 0, 7]), Err(DecodeError::Truncated { position: 3, needed: 2, remaining: 1 }));
    assert_eq!(read(&[9, 1, 0]), Err(DecodeError::Length { what: "tagged fields", length: 9, position: 1 }));
}

#[test]
fn shared_readers_do_not_copy() {
    let input = Bytes::from(vec![0, 0, 0, 3, 7, 8, 9]);
    let shared = Reader::shared(&input).bytes(false).unwrap();
    assert_eq!(shared.as_ptr(), input[4..].as_ptr());
    let copied = Reader::new(&input).bytes(false).unwrap();
    assert_eq!(copied, shared);
    assert_ne!(copied.as_ptr(), shared.as_ptr());
}
