//! How much decoding allocates: nothing for a borrowed PUBLISH, never more than the bytes that are there justify.
#![allow(unsafe_code)] // A counting allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use mqtt_codec::{Decoder, Framing, Packet, ProtocolVersion, Side};

use crate::bytes;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: every call is handed on to the system allocator unchanged; the counters are plain cells.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|c| {
            let (count, bytes) = c.get();
            c.set((count + 1, bytes + layout.size()));
        });
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations on this thread while `f` runs: how many, and how many bytes.
fn counted<T>(f: impl FnOnce() -> T) -> (T, usize, usize) {
    let (count, bytes) = ALLOCATIONS.get();
    let result = f();
    let (count_after, bytes_after) = ALLOCATIONS.get();
    (result, count_after - count, bytes_after - bytes)
}

#[test]
fn the_counter_counts() {
    let (_, count, size) = counted(|| Vec::<u8>::with_capacity(1000));
    assert_eq!((count, size), (1, 1000));
}

#[test]
fn a_publish_is_decoded_without_allocating() {
    let wire = Bytes::from(bytes(
        "3d 25 0001 't' 0001
        1d 01 01 02 00000000 03 0001 'c' 08 0003 'r/s' 09 0002 0102 26 0001 'k' 0001 'v' 'hi'",
    ));
    let decoder = Decoder::unlimited(Side::Client, ProtocolVersion::V5);
    let (_, count, _) = counted(|| {
        let Ok(Framing::Whole(header)) = decoder.peek(&wire) else { panic!("whole") };
        let publish = decoder.decode_publish(&wire, header).expect("valid");
        assert_eq!(publish.payload.as_ptr(), wire[wire.len() - 2..].as_ptr());
        assert_eq!(publish.properties.user_properties().count(), 1);
    });
    assert_eq!(count, 0);
    let mut decoder = decoder;
    let _warm = wire.clone(); // The first clone of a `Bytes` from a vector makes its reference count.
    let (packet, count, _) = counted(|| {
        let Ok(Framing::Whole(header)) = decoder.peek(&wire) else { panic!("whole") };
        decoder.decode_frame(&wire, header).expect("valid")
    });
    assert_eq!(count, 0);
    assert!(matches!(packet, Packet::Publish(p) if p.payload == "hi"));
}

#[test]
fn a_length_alone_allocates_nothing() {
    // Headers that announce 256 MB, and fields that announce 64 KB, with nothing behind them.
    for wire in ["30 ffffff7f 0001", "10 ffffff7f 0004 'MQTT'", "82 ffffff7f 0001 ffff", "20 ffffff7f"] {
        for from in [Side::Client, Side::Server] {
            let mut buf = BytesMut::from(&bytes(wire)[..]);
            let capacity = buf.capacity();
            let mut decoder = Decoder::unlimited(from, ProtocolVersion::V311);
            let (_, count, size) = counted(|| decoder.decode(&mut buf).is_ok());
            assert_eq!((count, size), (0, 0), "{wire}");
            assert_eq!(buf.capacity(), capacity);
        }
    }
    let wire = Bytes::from(bytes("10 0e 0004 'MQTT' 04 c2 000a ffff 0000"));
    let mut decoder = Decoder::for_server(1000);
    let (_, _, size) = counted(|| {
        let Ok(Framing::Whole(header)) = decoder.peek(&wire) else { panic!("whole") };
        decoder.decode_frame(&wire, header).expect_err("cut")
    });
    assert!(size < 100, "{size} bytes for a cut field");
}

#[test]
fn many_small_fields_cost_no_more_than_a_few_times_their_size() {
    let mut body = bytes("0001 00");
    for _ in 0..20_000 {
        body.extend(bytes("0001 'a' 00"));
    }
    let mut wire = vec![0x82];
    let mut len = body.len();
    while len > 0x7f {
        wire.push(len as u8 | 0x80);
        len >>= 7;
    }
    wire.push(len as u8);
    wire.extend(&body);
    let total = wire.len();
    let wire = Bytes::from(wire);
    let mut decoder = Decoder::unlimited(Side::Client, ProtocolVersion::V5);
    let (packet, _, size) = counted(|| {
        let Ok(Framing::Whole(header)) = decoder.peek(&wire) else { panic!("whole") };
        decoder.decode_frame(&wire, header)
    });
    assert!(packet.is_ok());
    // Doubling a vector of 32-byte entries for 4 bytes on the wire each: under 32 times, all reallocations counted.
    assert!(size < 32 * total, "{size} bytes for a packet of {total}");
}
