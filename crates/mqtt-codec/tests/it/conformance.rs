//! One broken rule per line: the probes on which other codecs fail, and the edges next to them that are legal.

mod messages;
mod session;

use mqtt_codec::ProtocolVersion::{V5, V31, V311};
use mqtt_codec::Side::{Client, Server};
use mqtt_codec::{DecodeError, ProtocolVersion, ReasonCode, Side};

use crate::{bytes, decode};

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL: ReasonCode = ReasonCode::ProtocolError;

fn refused(what: &str, version: ProtocolVersion, from: Side, wire: &str, reason: ReasonCode, text: &str) {
    match decode(version, from, &bytes(wire)) {
        Ok(found) => panic!("{what}: {wire} was taken as {found:?}"),
        Err(e) => {
            assert_eq!(e.reason(), reason, "{what}: {e}");
            assert_eq!(e.to_string(), text, "{what}");
        }
    }
}

fn accepted(what: &str, version: ProtocolVersion, from: Side, wire: &str) {
    match decode(version, from, &bytes(wire)) {
        Ok(Some(_)) => {}
        other => panic!("{what}: {wire} gave {other:?}"),
    }
}

#[test]
fn fixed_header() {
    for v in [V31, V311, V5] {
        let r = |what, from, wire, reason, text| refused(what, v, from, wire, reason, text);
        r("packet type 0", Client, "00 00", MALFORMED, "packet type 0 is reserved");
        r(
            "QoS 3",
            Client,
            "36 07 0001 't' 0001 'hi'",
            MALFORMED,
            "PUBLISH: fixed header flags at byte 0: QoS is 3",
        );
        let five = "PUBLISH: remaining length at byte 1: is longer than four bytes";
        r("remaining length of five bytes", Client, "30 ffffffff01", MALFORMED, five);
        let long = "PINGREQ: remaining length at byte 1: is not in its shortest form";
        r("remaining length 8000", Client, "c0 8000", MALFORMED, long);
        r(
            "PINGREQ with a body",
            Client,
            "c0 01 00",
            MALFORMED,
            "PINGREQ: end of packet at byte 2: bytes follow the last field",
        );
        r(
            "PINGRESP with a body",
            Server,
            "d0 01 00",
            MALFORMED,
            "PINGRESP: end of packet at byte 2: bytes follow the last field",
        );
    }
    for v in [V311, V5] {
        let dup = "PUBLISH: fixed header flags at byte 0: DUP is set at QoS 0";
        refused("DUP at QoS 0", v, Client, "38 05 0001 't' 00 'h'", MALFORMED, dup);
        for (first, name) in [
            ("80", "SUBSCRIBE"),
            ("83", "SUBSCRIBE"),
            ("a0", "UNSUBSCRIBE"),
            ("60", "PUBREL"),
            ("c1", "PINGREQ"),
            ("42", "PUBACK"),
            ("5f", "PUBREC"),
            ("71", "PUBCOMP"),
            ("e8", "DISCONNECT"),
        ] {
            let text =
                format!("{name}: fixed header flags at byte 0: are not the ones this packet must have");
            refused("flags", v, Client, &format!("{first} 00"), MALFORMED, &text);
        }
    }
    refused(
        "SUBSCRIBE without QoS 1",
        V31,
        Client,
        "80 00",
        MALFORMED,
        "SUBSCRIBE: fixed header flags at byte 0: are not the ones this packet must have",
    );
    refused(
        "CONNECT flags",
        V5,
        Client,
        "11 00",
        MALFORMED,
        "CONNECT: fixed header flags at byte 0: are not the ones this packet must have",
    );
    accepted("DUP at QoS 0 in MQTT 3.1, which does not forbid it", V31, Client, "38 04 0001 't' 'h'");
    refused("AUTH in MQTT 3", V311, Client, "f0 00", MALFORMED, "packet type 15 is reserved");
}

#[test]
fn direction_and_order() {
    for (wire, name) in [
        ("20 02 0000", "CONNACK"),
        ("90 03 0001 00", "SUBACK"),
        ("b0 02 0001", "UNSUBACK"),
        ("d0 00", "PINGRESP"),
    ] {
        refused(
            "server's packet",
            V311,
            Client,
            wire,
            PROTOCOL,
            &format!("{name}: may not come from a client"),
        );
    }
    for (wire, name) in [
        ("82 06 0001 0001 'a' 00", "SUBSCRIBE"),
        ("a2 05 0001 0001 'a'", "UNSUBSCRIBE"),
        ("c0 00", "PINGREQ"),
        ("10 00", "CONNECT"),
    ] {
        refused(
            "client's packet",
            V311,
            Server,
            wire,
            PROTOCOL,
            &format!("{name}: may not come from a server"),
        );
    }
    refused(
        "DISCONNECT from a server",
        V311,
        Server,
        "e0 00",
        PROTOCOL,
        "DISCONNECT: may not come from a server before MQTT 5",
    );
    accepted("DISCONNECT from a server", V5, Server, "e0 00");

    let mut decoder = mqtt_codec::Decoder::for_server(1000);
    let early = decoder.decode(&mut bytes::BytesMut::from(&bytes("c0 00")[..])).expect_err("no CONNECT yet");
    assert_eq!((early.reason(), early.to_string().as_str()), (PROTOCOL, "PINGREQ: comes before CONNECT"));
    let mut twice = bytes("10 0c 0004 'MQTT' 04 02 000a 0000");
    twice.extend(twice.clone());
    let mut twice = bytes::BytesMut::from(&twice[..]);
    assert!(matches!(decoder.decode(&mut twice), Ok(Some(_))));
    let second = decoder.decode(&mut twice).expect_err("second CONNECT");
    assert_eq!((second.reason(), second.to_string().as_str()), (PROTOCOL, "CONNECT: comes a second time"));
}

#[test]
fn size_is_judged_by_the_fixed_header() {
    let decoder = mqtt_codec::Decoder::for_server(100);
    // 268,435,455 bytes announced, none there.
    let e = decoder.peek(&bytes("10 ffffff7f")).expect_err("too large");
    assert_eq!(
        e,
        DecodeError::PacketTooLarge {
            packet: mqtt_codec::PacketType::Connect,
            size: 268_435_460,
            limit: 100
        }
    );
    assert_eq!(e.reason(), ReasonCode::PacketTooLarge);
    assert_eq!(decoder.peek(&bytes("10 62")), Ok(mqtt_codec::Framing::NeedMore { at_least: 100 }));
    assert_eq!(decoder.peek(&bytes("10 63")).expect_err("101 bytes").reason(), ReasonCode::PacketTooLarge);
    assert_eq!(decoder.peek(&[]), Ok(mqtt_codec::Framing::NeedMore { at_least: 2 }));
    assert_eq!(decoder.peek(&bytes("10 ff")), Ok(mqtt_codec::Framing::NeedMore { at_least: 3 }));
}
