//! PUBLISH, its acknowledgements, SUBSCRIBE and UNSUBSCRIBE.

use mqtt_codec::ProtocolVersion::{V5, V31, V311};
use mqtt_codec::ReasonCode;
use mqtt_codec::Side::{Client, Server};

use super::{MALFORMED, PROTOCOL, accepted, refused};
use crate::bytes;

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
