//! One broken rule per line: the probes on which other codecs fail, and the edges next to them that are legal.

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
fn connect() {
    let r = |what, wire, reason, text| refused(what, V5, Client, wire, reason, text);
    r(
        "protocol name",
        "10 0c 0004 'HTTP' 04 02 000a 0000",
        PROTOCOL,
        "CONNECT: protocol name at byte 2: is neither MQTT nor MQIsdp",
    );
    let unsupported = ReasonCode::UnsupportedProtocolVersion;
    r(
        "level 6",
        "10 0c 0004 'MQTT' 06 02 000a 0000",
        unsupported,
        "CONNECT: protocol \"MQTT\" level 6 is not supported",
    );
    r(
        "level 3 by the new name",
        "10 0c 0004 'MQTT' 03 02 000a 0000",
        unsupported,
        "CONNECT: protocol \"MQTT\" level 3 is not supported",
    );
    r(
        "bridge bit in MQTT 5",
        "10 0d 0004 'MQTT' 85 02 000a 00 0000",
        unsupported,
        "CONNECT: protocol \"MQTT\" level 133 is not supported",
    );
    r(
        "reserved flag",
        "10 0c 0004 'MQTT' 04 03 000a 0000",
        MALFORMED,
        "CONNECT: connect flags at byte 9: the reserved bit is set",
    );
    r(
        "will QoS 3",
        "10 12 0004 'MQTT' 04 1e 000a 0000 0001 'w' 0001 'p'",
        MALFORMED,
        "CONNECT: connect flags at byte 9: will QoS is 3",
    );
    let no_will = "CONNECT: connect flags at byte 9: will QoS or will retain without a will";
    r("will retain without will", "10 0c 0004 'MQTT' 04 22 000a 0000", MALFORMED, no_will);
    r("will QoS without will", "10 0c 0004 'MQTT' 04 0a 000a 0000", MALFORMED, no_will);
    r(
        "password without user name in 3.1.1",
        "10 0f 0004 'MQTT' 04 42 000a 0000 0001 'p'",
        MALFORMED,
        "CONNECT: connect flags at byte 9: a password without a user name",
    );
    accepted("password without user name in 5", V5, Client, "10 10 0004 'MQTT' 05 42 000a 00 0000 0001 'p'");
    accepted(
        "empty client identifier without clean session (for the broker to refuse)",
        V311,
        Client,
        "10 0c 0004 'MQTT' 04 00 000a 0000",
    );
    r(
        "trailing bytes",
        "10 0d 0004 'MQTT' 04 02 000a 0000 00",
        MALFORMED,
        "CONNECT: end of packet at byte 14: bytes follow the last field",
    );
    r(
        "user name promised and missing",
        "10 0c 0004 'MQTT' 04 82 000a 0000",
        MALFORMED,
        "CONNECT: user name at byte 14: reaches past the end of the packet",
    );
    r(
        "client identifier cut",
        "10 0d 0004 'MQTT' 04 02 000a 0005 'a'",
        MALFORMED,
        "CONNECT: client identifier at byte 14: reaches past the end of the packet",
    );
    r(
        "client identifier with U+0000",
        "10 0d 0004 'MQTT' 04 02 000a 0001 00",
        MALFORMED,
        "CONNECT: client identifier at byte 12: holds the character U+0000",
    );
    r(
        "client identifier not UTF-8",
        "10 0d 0004 'MQTT' 04 02 000a 0001 ff",
        MALFORMED,
        "CONNECT: client identifier at byte 12: is not UTF-8",
    );
    r(
        "a surrogate",
        "10 0f 0004 'MQTT' 04 02 000a 0003 eda080",
        MALFORMED,
        "CONNECT: client identifier at byte 12: is not UTF-8",
    );
    accepted(
        "U+FEFF is a character like any other",
        V311,
        Client,
        "10 0f 0004 'MQTT' 04 02 000a 0003 efbbbf",
    );
    r(
        "will topic with wildcard",
        "10 12 0004 'MQTT' 04 06 000a 0000 0001 '#' 0001 'p'",
        MALFORMED,
        "CONNECT: will topic at byte 14: is empty or holds a wildcard",
    );
    r(
        "empty will topic",
        "10 11 0004 'MQTT' 04 06 000a 0000 0000 0001 'p'",
        MALFORMED,
        "CONNECT: will topic at byte 14: is empty or holds a wildcard",
    );
    accepted(
        "will payload may be any bytes",
        V311,
        Client,
        "10 13 0004 'MQTT' 04 06 000a 0000 0001 'w' 0002 00ff",
    );
    let bare = "CONNECT: property length at byte 12: reaches past the end of the packet";
    r("property length missing", "10 0a 0004 'MQTT' 05 02 000a", MALFORMED, bare);
}

#[test]
fn connect_properties() {
    let p = |what, properties: &str, reason, text: &str| {
        let len = bytes(properties).len();
        let wire = format!("10 {:02x} 0004 'MQTT' 05 02 000a {len:02x} {properties} 0000", 13 + len);
        refused(what, V5, Client, &wire, reason, text);
    };
    p("receive maximum 0", "21 0000", PROTOCOL, "CONNECT: receive maximum at byte 13: is 0");
    p("maximum packet size 0", "27 00000000", PROTOCOL, "CONNECT: maximum packet size at byte 13: is 0");
    p(
        "twice",
        "11 00000001 11 00000001",
        PROTOCOL,
        "CONNECT: session expiry interval at byte 18: stands there twice",
    );
    p(
        "request problem information 2",
        "17 02",
        PROTOCOL,
        "CONNECT: request problem information at byte 14: is neither 0 nor 1",
    );
    p(
        "data without method",
        "16 0001 00",
        PROTOCOL,
        "CONNECT: authentication data at byte 12: comes without authentication method",
    );
    p(
        "a will's property",
        "18 00000001",
        MALFORMED,
        "CONNECT: will delay interval at byte 13: may not stand in this packet",
    );
    p(
        "a PUBLISH's property",
        "23 0001",
        MALFORMED,
        "CONNECT: topic alias at byte 13: may not stand in this packet",
    );
    p(
        "unknown identifier",
        "7f",
        MALFORMED,
        "CONNECT: property identifier at byte 13: is not one MQTT 5 knows",
    );
    p(
        "identifier not in its shortest form",
        "9100 00000001",
        MALFORMED,
        "CONNECT: property identifier at byte 13: is not in its shortest form",
    );
    p(
        "cut value",
        "11 0000",
        MALFORMED,
        "CONNECT: session expiry interval at byte 14: reaches past the end of the packet",
    );
    p(
        "user property with U+0000",
        "26 0001 00 0000",
        MALFORMED,
        "CONNECT: user property at byte 14: holds the character U+0000",
    );
    refused(
        "property length not in its shortest form",
        V5,
        Client,
        "10 0e 0004 'MQTT' 05 02 000a 8000 0000",
        MALFORMED,
        "CONNECT: property length at byte 12: is not in its shortest form",
    );
    refused(
        "property length past the packet",
        V5,
        Client,
        "10 0d 0004 'MQTT' 05 02 000a 7f 0000",
        MALFORMED,
        "CONNECT: property length at byte 12: reaches past the end of the packet",
    );
    accepted(
        "user properties repeat",
        V5,
        Client,
        "10 17 0004 'MQTT' 05 02 000a 0a 26 0000 0000 26 0000 0000 0000",
    );
}

#[test]
fn publish() {
    for v in [V31, V311] {
        let r = |what, wire, text| refused(what, v, Client, wire, MALFORMED, text);
        r("empty topic", "30 03 0000 'h'", "PUBLISH: topic name at byte 2: is empty");
        r("topic with #", "30 04 0001 '#' 'h'", "PUBLISH: topic name at byte 2: holds a wildcard");
        r("topic with +", "30 06 0003 'a/+' 'h'", "PUBLISH: topic name at byte 2: holds a wildcard");
        r(
            "topic with U+0000",
            "30 05 0002 'a' 00 'h'",
            "PUBLISH: topic name at byte 2: holds the character U+0000",
        );
        r("topic not UTF-8", "30 05 0002 c328 'h'", "PUBLISH: topic name at byte 2: is not UTF-8");
        r(
            "topic past the packet",
            "30 04 00ff 'ab'",
            "PUBLISH: topic name at byte 4: reaches past the end of the packet",
        );
        r("no topic", "30 00", "PUBLISH: topic name at byte 2: reaches past the end of the packet");
        r(
            "no packet identifier",
            "32 03 0001 't'",
            "PUBLISH: packet identifier at byte 5: reaches past the end of the packet",
        );
        refused(
            "packet identifier 0",
            v,
            Client,
            "32 05 0001 't' 0000",
            PROTOCOL,
            "PUBLISH: packet identifier at byte 5: is 0",
        );
        accepted("topics may begin with $ and hold spaces and empty levels", v, Client, "30 07 0005 '$ // '");
    }
    let p = |what, properties: &str, reason, text: &str| {
        let len = bytes(properties).len();
        let wire = format!("30 {:02x} 0001 't' {len:02x} {properties} 'h'", 5 + len);
        refused(what, V5, Client, &wire, reason, text);
    };
    p("topic alias 0", "23 0000", ReasonCode::TopicAliasInvalid, "PUBLISH: topic alias at byte 6: is 0");
    p(
        "response topic with wildcard",
        "08 0003 'a/#'",
        PROTOCOL,
        "PUBLISH: response topic at byte 6: is not a topic name: empty or with a wildcard",
    );
    p(
        "empty response topic",
        "08 0000",
        PROTOCOL,
        "PUBLISH: response topic at byte 6: is not a topic name: empty or with a wildcard",
    );
    p(
        "subscription identifier from a client",
        "0b 01",
        PROTOCOL,
        "PUBLISH: subscription identifier at byte 6: may not come from a client",
    );
    p(
        "payload format indicator 2",
        "01 02",
        PROTOCOL,
        "PUBLISH: payload format indicator at byte 7: is neither 0 nor 1",
    );
    p(
        "content type twice",
        "03 0001 'a' 03 0001 'a'",
        PROTOCOL,
        "PUBLISH: content type at byte 10: stands there twice",
    );
    p(
        "expiry twice",
        "02 00000001 02 00000001",
        PROTOCOL,
        "PUBLISH: message expiry interval at byte 11: stands there twice",
    );
    p(
        "a CONNECT's property",
        "21 0001",
        MALFORMED,
        "PUBLISH: receive maximum at byte 6: may not stand in this packet",
    );
    p("content type not UTF-8", "03 0001 ff", MALFORMED, "PUBLISH: content type at byte 7: is not UTF-8");
    let s = |what, wire, reason, text| refused(what, V5, Server, wire, reason, text);
    s(
        "subscription identifier 0",
        "30 06 0001 't' 02 0b 00",
        PROTOCOL,
        "PUBLISH: subscription identifier at byte 6: is 0",
    );
    s(
        "subscription identifier of five bytes",
        "30 0a 0001 't' 06 0b 8080808001",
        MALFORMED,
        "PUBLISH: subscription identifier at byte 7: is longer than four bytes",
    );
    s(
        "subscription identifier not in its shortest form",
        "30 07 0001 't' 03 0b 8100",
        MALFORMED,
        "PUBLISH: subscription identifier at byte 7: is not in its shortest form",
    );
    let r = |what, wire, reason, text| refused(what, V5, Client, wire, reason, text);
    r(
        "property length missing",
        "30 03 0001 't'",
        MALFORMED,
        "PUBLISH: property length at byte 5: reaches past the end of the packet",
    );
    r(
        "property length not in its shortest form",
        "30 05 0001 't' 8000",
        MALFORMED,
        "PUBLISH: property length at byte 5: is not in its shortest form",
    );
    r(
        "empty topic without alias",
        "30 04 0000 00 'h'",
        PROTOCOL,
        "PUBLISH: topic name at byte 2: is empty and there is no topic alias",
    );
    r(
        "wildcard in topic",
        "30 05 0001 '+' 00 'h'",
        MALFORMED,
        "PUBLISH: topic name at byte 2: holds a wildcard",
    );
    r(
        "packet identifier 0",
        "34 06 0001 't' 0000 00",
        PROTOCOL,
        "PUBLISH: packet identifier at byte 5: is 0",
    );
    accepted("message expiry 0", V5, Client, "30 09 0001 't' 05 02 00000000");
    accepted("message expiry maximum", V5, Client, "30 09 0001 't' 05 02 ffffffff");
    accepted("topic and alias", V5, Client, "30 07 0001 't' 03 23 ffff");
    accepted(
        "payload that is not UTF-8 although declared (for the broker to judge)",
        V5,
        Client,
        "30 07 0001 't' 02 0101 ff",
    );
}

#[test]
fn acknowledgements() {
    for (first, name) in [("40", "PUBACK"), ("50", "PUBREC"), ("62", "PUBREL"), ("70", "PUBCOMP")] {
        for v in [V31, V311] {
            refused(
                "packet identifier 0",
                v,
                Client,
                &format!("{first} 02 0000"),
                PROTOCOL,
                &format!("{name}: packet identifier at byte 2: is 0"),
            );
            refused(
                "trailing bytes",
                v,
                Client,
                &format!("{first} 03 0001 00"),
                MALFORMED,
                &format!("{name}: end of packet at byte 4: bytes follow the last field"),
            );
            refused(
                "cut",
                v,
                Client,
                &format!("{first} 01 00"),
                MALFORMED,
                &format!("{name}: packet identifier at byte 2: reaches past the end of the packet"),
            );
        }
        refused(
            "packet identifier 0",
            V5,
            Client,
            &format!("{first} 02 0000"),
            PROTOCOL,
            &format!("{name}: packet identifier at byte 2: is 0"),
        );
        refused(
            "reason",
            V5,
            Client,
            &format!("{first} 03 0001 01"),
            PROTOCOL,
            &format!("{name}: reason code at byte 4: is not one of this packet's"),
        );
        refused(
            "unknown reason",
            V5,
            Client,
            &format!("{first} 03 0001 ff"),
            PROTOCOL,
            &format!("{name}: reason code at byte 4: is not one of this packet's"),
        );
        refused(
            "trailing bytes",
            V5,
            Client,
            &format!("{first} 05 0001 00 00 00"),
            MALFORMED,
            &format!("{name}: end of packet at byte 6: bytes follow the last field"),
        );
        refused(
            "reason string twice",
            V5,
            Client,
            &format!("{first} 0a 0001 00 06 1f 0000 1f 0000"),
            PROTOCOL,
            &format!("{name}: reason string at byte 9: stands there twice"),
        );
    }
}

#[test]
fn subscribe() {
    for (v, none) in [(V31, ""), (V311, ""), (V5, "00")] {
        let extra = bytes(none).len();
        let f = |what, payload: &str, reason, problem: &str| {
            let wire = format!("82 {:02x} 0001 {none} {payload}", 2 + extra + bytes(payload).len());
            let at = 4 + extra;
            let text = problem.replace("@", &at.to_string());
            refused(what, v, Client, &wire, reason, &text);
        };
        f("no filter", "", PROTOCOL, "SUBSCRIBE: payload at byte @: holds no topic filter");
        f("empty filter", "0000 00", MALFORMED, "SUBSCRIBE: topic filter at byte @: is empty");
        let place = "SUBSCRIBE: topic filter at byte @: has a wildcard that is not a whole level, or levels after '#'";
        for filter in ["a#", "#a", "a/#/b", "##", "+a", "a+/b", "a/b#", "/#/"] {
            f(filter, &format!("{:04x} '{filter}' 00", filter.len()), MALFORMED, place);
        }
        f("U+0000", "0001 00 00", MALFORMED, "SUBSCRIBE: topic filter at byte @: holds the character U+0000");
        f(
            "QoS 3",
            "0001 'a' 03",
            MALFORMED,
            &format!("SUBSCRIBE: subscription options at byte {}: QoS is 3", 7 + extra),
        );
        f(
            "reserved bits",
            "0001 'a' c0",
            MALFORMED,
            &format!("SUBSCRIBE: subscription options at byte {}: reserved bits are set", 7 + extra),
        );
        f(
            "options missing",
            "0001 'a'",
            MALFORMED,
            &format!(
                "SUBSCRIBE: subscription options at byte {}: reaches past the end of the packet",
                7 + extra
            ),
        );
        refused(
            "packet identifier 0",
            v,
            Client,
            &format!("82 {:02x} 0000 {none} 0001 'a' 00", 6 + extra),
            PROTOCOL,
            "SUBSCRIBE: packet identifier at byte 2: is 0",
        );
        let u = |what, payload: &str, reason, problem: &str| {
            let wire = format!("a2 {:02x} 0001 {none} {payload}", 2 + extra + bytes(payload).len());
            refused(what, v, Client, &wire, reason, &problem.replace("@", &(4 + extra).to_string()));
        };
        u("no filter", "", PROTOCOL, "UNSUBSCRIBE: payload at byte @: holds no topic filter");
        u(
            "a#",
            "0002 'a#'",
            MALFORMED,
            "UNSUBSCRIBE: topic filter at byte @: has a wildcard that is not a whole level, or levels after '#'",
        );
        u(
            "cut",
            "0005 'a'",
            MALFORMED,
            &format!("UNSUBSCRIBE: topic filter at byte {}: reaches past the end of the packet", 6 + extra),
        );
    }
    refused(
        "MQTT 5 options in 3.1.1",
        V311,
        Client,
        "82 06 0001 0001 'a' 04",
        MALFORMED,
        "SUBSCRIBE: subscription options at byte 7: reserved bits are set",
    );
    let s = |what, payload: &str, reason, text: &str| {
        let wire = format!("82 {:02x} 0001 00 {payload}", 3 + bytes(payload).len());
        refused(what, V5, Client, &wire, reason, text);
    };
    s(
        "retain handling 3",
        "0001 'a' 30",
        PROTOCOL,
        "SUBSCRIBE: subscription options at byte 8: retain handling is 3",
    );
    s(
        "no local on a shared subscription",
        "000a '$share/g/t' 04",
        PROTOCOL,
        "SUBSCRIBE: subscription options at byte 17: no local on a shared subscription",
    );
    for filter in ["$share", "$share/", "$share/g", "$share/g/", "$share//t", "$share/+/t", "$share/g#/t"] {
        let wire = format!("{:04x} '{filter}' 00", filter.len());
        s(filter, &wire, MALFORMED, "SUBSCRIBE: topic filter at byte 5: is not $share/{name}/{filter}");
    }
    s(
        "wildcard inside a shared filter",
        "000c '$share/g/a#b' 00",
        MALFORMED,
        "SUBSCRIBE: topic filter at byte 5: has a wildcard that is not a whole level, or levels after '#'",
    );
    refused(
        "subscription identifier 0",
        V5,
        Client,
        "82 08 0001 02 0b00 0001 'a' 00",
        PROTOCOL,
        "SUBSCRIBE: subscription identifier at byte 5: is 0",
    );
    refused(
        "subscription identifier twice",
        V5,
        Client,
        "82 0a 0001 04 0b01 0b02 0001 'a' 00",
        PROTOCOL,
        "SUBSCRIBE: subscription identifier at byte 7: stands there twice",
    );
    accepted("$share is a name like any other in MQTT 3", V311, Client, "82 0b 0001 0006 '$share' 00");
    accepted("$shared is not $share", V5, Client, "82 0d 0001 00 0007 '$shared' 04");
    accepted("no local", V5, Client, "82 07 0001 00 0001 'a' 04");
}

#[test]
fn server_packets() {
    let s = |what, v, wire, reason, text| refused(what, v, Server, wire, reason, text);
    s(
        "CONNACK return code 6",
        V311,
        "20 02 00 06",
        PROTOCOL,
        "CONNACK: return code at byte 3: is not between 0 and 5",
    );
    s(
        "CONNACK reserved flag",
        V311,
        "20 02 02 00",
        MALFORMED,
        "CONNACK: acknowledge flags at byte 2: reserved bits are set",
    );
    s(
        "CONNACK session in a refusal",
        V311,
        "20 02 01 05",
        PROTOCOL,
        "CONNACK: acknowledge flags at byte 2: session present in a refusal",
    );
    s(
        "CONNACK session in a refusal",
        V5,
        "20 03 01 87 00",
        PROTOCOL,
        "CONNACK: acknowledge flags at byte 2: session present in a refusal",
    );
    s(
        "CONNACK trailing",
        V311,
        "20 03 00 00 00",
        MALFORMED,
        "CONNACK: end of packet at byte 4: bytes follow the last field",
    );
    s(
        "CONNACK without property length",
        V5,
        "20 02 00 00",
        MALFORMED,
        "CONNACK: property length at byte 4: is missing",
    );
    s(
        "CONNACK reason",
        V5,
        "20 03 00 8e 00",
        PROTOCOL,
        "CONNACK: reason code at byte 3: is not one of this packet's",
    );
    s(
        "CONNACK maximum QoS 2",
        V5,
        "20 05 00 00 02 24 02",
        PROTOCOL,
        "CONNACK: maximum QoS at byte 5: is neither 0 nor 1",
    );
    s(
        "CONNACK retain available 2",
        V5,
        "20 05 00 00 02 25 02",
        PROTOCOL,
        "CONNACK: retain available at byte 6: is neither 0 nor 1",
    );
    s("SUBACK empty", V311, "90 02 0001", PROTOCOL, "SUBACK: payload at byte 4: holds no reason code");
    s(
        "SUBACK code",
        V311,
        "90 03 0001 03",
        PROTOCOL,
        "SUBACK: reason code at byte 4: is not one of this packet's",
    );
    s(
        "SUBACK MQTT 5 code in 3.1.1",
        V311,
        "90 03 0001 87",
        PROTOCOL,
        "SUBACK: return code at byte 4: is not 0, 1, 2 or 128",
    );
    s("UNSUBACK empty", V5, "b0 03 0001 00", PROTOCOL, "UNSUBACK: payload at byte 5: holds no reason code");
    s(
        "UNSUBACK trailing",
        V311,
        "b0 03 0001 00",
        MALFORMED,
        "UNSUBACK: end of packet at byte 4: bytes follow the last field",
    );
    s(
        "DISCONNECT with will from a server",
        V5,
        "e0 01 04",
        PROTOCOL,
        "DISCONNECT: reason code at byte 2: may not come from a server",
    );
    s(
        "DISCONNECT session expiry from a server",
        V5,
        "e0 07 00 05 11 00000001",
        PROTOCOL,
        "DISCONNECT: session expiry interval at byte 4: may not come from a server",
    );
    refused(
        "DISCONNECT reason",
        V5,
        Client,
        "e0 01 01",
        PROTOCOL,
        "DISCONNECT: reason code at byte 2: is not one of this packet's",
    );
    refused(
        "DISCONNECT with a body in 3.1.1",
        V311,
        Client,
        "e0 01 00",
        MALFORMED,
        "DISCONNECT: end of packet at byte 2: bytes follow the last field",
    );
}

#[test]
fn auth() {
    let r = |what, from, wire, text| refused(what, V5, from, wire, PROTOCOL, text);
    r("no method", Client, "f0 02 18 00", "AUTH: authentication method at byte 3: is missing");
    r("no properties", Client, "f0 01 18", "AUTH: authentication method at byte 3: is missing");
    r(
        "data without method",
        Client,
        "f0 06 18 04 16 0001 00",
        "AUTH: authentication data at byte 3: comes without authentication method",
    );
    r("reason", Client, "f0 01 80", "AUTH: reason code at byte 2: is not one of this packet's");
    r(
        "success from a client",
        Client,
        "f0 06 00 04 15 0001 'm'",
        "AUTH: reason code at byte 2: may not come from this side",
    );
    r(
        "re-authenticate from a server",
        Server,
        "f0 06 19 04 15 0001 'm'",
        "AUTH: reason code at byte 2: may not come from this side",
    );
    accepted("method only", V5, Client, "f0 06 19 04 15 0001 'm'");
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
