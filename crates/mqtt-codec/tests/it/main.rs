//! Tests of the codec through its public interface.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // A test fails by panicking, helpers included.

mod allocation;
mod conformance;
mod foreign;
mod properties;
mod random;
mod topics;
mod vectors;

/// Bytes from text: hexadecimal pairs, and literal text in single quotes.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let (literal, after) = quoted.split_once('\'').expect("closing quote");
            out.extend_from_slice(literal.as_bytes());
            rest = after.trim_start();
        } else {
            let (pair, after) = rest.split_at(2);
            out.push(u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{pair:?} in {text:?}")));
            rest = after.trim_start();
        }
    }
    out
}

/// Hexadecimal pairs without spaces.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

use bytes::BytesMut;
use mqtt_codec::{DecodeError, Decoder, Packet, PacketType, ProtocolVersion, Side};

/// Decodes all of `wire`, which must be one packet; `None` when bytes are missing.
fn decode(version: ProtocolVersion, from: Side, wire: &[u8]) -> Result<Option<Packet>, DecodeError> {
    let is_connect = wire.first().is_some_and(|b| b >> 4 == PacketType::Connect as u8);
    let mut decoder = if is_connect && from == Side::Client {
        Decoder::for_server(mqtt_codec::PACKET_SIZE_MAX)
    } else {
        Decoder::unlimited(from, version)
    };
    let mut buf = BytesMut::from(wire);
    let packet = decoder.decode(&mut buf)?;
    if packet.is_some() {
        assert!(buf.is_empty(), "bytes left over");
    }
    Ok(packet)
}
