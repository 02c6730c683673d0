//! CONNECT, CONNACK, AUTH, DISCONNECT and the answers to requests.

use mqtt_codec::ProtocolVersion::{V5, V311};
use mqtt_codec::ReasonCode;
use mqtt_codec::Side::{Client, Server};

use super::{MALFORMED, PROTOCOL, accepted, refused};
use crate::bytes;

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
