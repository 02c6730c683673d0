//! Properties (MQTT 5 section 2.2.2): one checked walk over the bytes, then reading without further checks.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, VARINT_MAX, put_varint, varint_len};
use crate::reason::ReasonCode;
use crate::topic;
use crate::version::{QoS, Side};
use crate::wire::{Reader, check_len, field_len, put_field, string_len};

/// A user property: a name and a value, both free text. Names may repeat; order is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserProperty {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

impl UserProperty {
    /// A pair of name and value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident($($type:ty),+) = $id:literal, $text:literal;)*) => {
        /// One property, borrowed from the packet it stands in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $($(#[$doc])* $name($($type),+),)*
        }

        impl Property<'_> {
            /// The identifier on the wire.
            pub const fn id(&self) -> u8 {
                match self { $(Self::$name(..) => $id,)* }
            }

            /// The name in the specification.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(..) => $text,)* }
            }
        }
    };
}

properties! {
    /// PUBLISH, will: whether the payload is UTF-8 text.
    PayloadFormatIndicator(bool) = 1, "payload format indicator";
    /// PUBLISH, will: lifetime in seconds.
    MessageExpiryInterval(u32) = 2, "message expiry interval";
    /// PUBLISH, will: the payload's type, free text.
    ContentType(&'a str) = 3, "content type";
    /// PUBLISH, will: the topic to answer on.
    ResponseTopic(&'a str) = 8, "response topic";
    /// PUBLISH, will: what an answer has to repeat.
    CorrelationData(&'a [u8]) = 9, "correlation data";
    /// PUBLISH from a server (several), SUBSCRIBE (one): 1 to 268,435,455.
    SubscriptionIdentifier(u32) = 11, "subscription identifier";
    /// CONNECT, CONNACK, DISCONNECT: seconds; 0xFFFFFFFF = never.
    SessionExpiryInterval(u32) = 17, "session expiry interval";
    /// CONNACK: the client identifier the server chose.
    AssignedClientIdentifier(&'a str) = 18, "assigned client identifier";
    /// CONNACK: seconds; replaces what the client asked for.
    ServerKeepAlive(u16) = 19, "server keep alive";
    /// CONNECT, CONNACK, AUTH: name of the method.
    AuthenticationMethod(&'a str) = 21, "authentication method";
    /// CONNECT, CONNACK, AUTH: the method's own bytes.
    AuthenticationData(&'a [u8]) = 22, "authentication data";
    /// CONNECT: whether reason strings and user properties may come with failures.
    RequestProblemInformation(bool) = 23, "request problem information";
    /// Will: seconds between the end of the connection and the will.
    WillDelayInterval(u32) = 24, "will delay interval";
    /// CONNECT: whether CONNACK should carry response information.
    RequestResponseInformation(bool) = 25, "request response information";
    /// CONNACK: basis for response topics.
    ResponseInformation(&'a str) = 26, "response information";
    /// CONNACK, DISCONNECT: another server to use.
    ServerReference(&'a str) = 28, "server reference";
    /// Acknowledgements, DISCONNECT, AUTH: for people to read.
    ReasonString(&'a str) = 31, "reason string";
    /// CONNECT, CONNACK: unacknowledged QoS 1 and 2 publishes accepted at once; at least 1.
    ReceiveMaximum(u16) = 33, "receive maximum";
    /// CONNECT, CONNACK: highest topic alias accepted.
    TopicAliasMaximum(u16) = 34, "topic alias maximum";
    /// PUBLISH: at least 1.
    TopicAlias(u16) = 35, "topic alias";
    /// CONNACK: 0 or 1.
    MaximumQoS(u8) = 36, "maximum QoS";
    /// CONNACK.
    RetainAvailable(bool) = 37, "retain available";
    /// All packets with properties: name and value; may repeat.
    UserProperty(&'a str, &'a str) = 38, "user property";
    /// CONNECT, CONNACK: bytes of a whole packet; at least 1.
    MaximumPacketSize(u32) = 39, "maximum packet size";
    /// CONNACK.
    WildcardSubscriptionAvailable(bool) = 40, "wildcard subscription available";
    /// CONNACK.
    SubscriptionIdentifierAvailable(bool) = 41, "subscription identifier available";
    /// CONNACK.
    SharedSubscriptionAvailable(bool) = 42, "shared subscription available";
}

impl Property<'_> {
    /// Checks a property to be sent and gives its length on the wire.
    fn checked_len(&self, packet: PacketType) -> Result<usize, EncodeError> {
        use Property as P;
        let invalid = |problem| EncodeError::Invalid { packet, field: self.name(), problem };
        let value_len = match *self {
            P::PayloadFormatIndicator(_)
            | P::RequestProblemInformation(_)
            | P::RequestResponseInformation(_)
            | P::RetainAvailable(_)
            | P::WildcardSubscriptionAvailable(_)
            | P::SubscriptionIdentifierAvailable(_)
            | P::SharedSubscriptionAvailable(_) => 1,
            P::MaximumQoS(n) if n > 1 => return Err(invalid("is not 0 or 1")),
            P::MaximumQoS(_) => 1,
            P::ReceiveMaximum(0) | P::TopicAlias(0) => return Err(invalid("is 0")),
            P::ServerKeepAlive(_) | P::ReceiveMaximum(_) | P::TopicAliasMaximum(_) | P::TopicAlias(_) => 2,
            P::MaximumPacketSize(0) => return Err(invalid("is 0")),
            P::MessageExpiryInterval(_)
            | P::SessionExpiryInterval(_)
            | P::WillDelayInterval(_)
            | P::MaximumPacketSize(_) => 4,
            P::SubscriptionIdentifier(n) if n == 0 || n > VARINT_MAX => {
                return Err(invalid("is not between 1 and 268435455"));
            }
            P::SubscriptionIdentifier(n) => varint_len(n as usize),
            P::ResponseTopic(s) => {
                topic::validate_name(s).map_err(|_| invalid("is not a topic name"))?;
                string_len(packet, self.name(), s)?
            }
            P::ContentType(s)
            | P::AssignedClientIdentifier(s)
            | P::AuthenticationMethod(s)
            | P::ResponseInformation(s)
            | P::ServerReference(s)
            | P::ReasonString(s) => string_len(packet, self.name(), s)?,
            P::CorrelationData(b) | P::AuthenticationData(b) => field_len(self.name(), b)?,
            P::UserProperty(n, v) => {
                string_len(packet, self.name(), n)? + string_len(packet, self.name(), v)?
            }
        };
        Ok(1 + value_len)
    }

    /// Writes identifier and value; `checked_len` has accepted them.
    fn put(&self, out: &mut impl BufMut) {
        use Property as P;
        out.put_u8(self.id());
        match *self {
            P::PayloadFormatIndicator(b)
            | P::RequestProblemInformation(b)
            | P::RequestResponseInformation(b)
            | P::RetainAvailable(b)
            | P::WildcardSubscriptionAvailable(b)
            | P::SubscriptionIdentifierAvailable(b)
            | P::SharedSubscriptionAvailable(b) => out.put_u8(u8::from(b)),
            P::MaximumQoS(n) => out.put_u8(n),
            P::ServerKeepAlive(n) | P::ReceiveMaximum(n) | P::TopicAliasMaximum(n) | P::TopicAlias(n) => {
                out.put_u16(n);
            }
            P::MessageExpiryInterval(n)
            | P::SessionExpiryInterval(n)
            | P::WillDelayInterval(n)
            | P::MaximumPacketSize(n) => out.put_u32(n),
            P::SubscriptionIdentifier(n) => put_varint(out, n as usize),
            P::ContentType(s)
            | P::ResponseTopic(s)
            | P::AssignedClientIdentifier(s)
            | P::AuthenticationMethod(s)
            | P::ResponseInformation(s)
            | P::ServerReference(s)
            | P::ReasonString(s) => put_field(out, s.as_bytes()),
            P::CorrelationData(b) | P::AuthenticationData(b) => put_field(out, b),
            P::UserProperty(n, v) => {
                put_field(out, n.as_bytes());
                put_field(out, v.as_bytes());
            }
        }
    }
}

/// Where a property list stands: decides which properties it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the variable header of a packet sent by this side.
    Header(PacketType, Side),
    /// In CONNECT's payload, before the will topic.
    Will,
}

impl Place {
    /// Bit `n` is set when the property with identifier `n` may stand here.
    fn allowed(self) -> u64 {
        const fn set(ids: &[u8]) -> u64 {
            let mut bits = 0;
            let mut i = 0;
            while i < ids.len() {
                bits |= 1 << ids[i];
                i += 1;
            }
            bits
        }
        const WILL: u64 = set(&[1, 2, 3, 8, 9, 24, 38]);
        const CONNECT: u64 = set(&[17, 21, 22, 23, 25, 33, 34, 38, 39]);
        const CONNACK: u64 = set(&[17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42]);
        const PUBLISH: u64 = set(&[1, 2, 3, 8, 9, 11, 35, 38]);
        const ACK: u64 = set(&[31, 38]);
        const SUBSCRIBE: u64 = set(&[11, 38]);
        const UNSUBSCRIBE: u64 = set(&[38]);
        const DISCONNECT: u64 = set(&[17, 28, 31, 38]);
        const AUTH: u64 = set(&[21, 22, 31, 38]);
        use PacketType as P;
        match self {
            Self::Will => WILL,
            Self::Header(packet, _) => match packet {
                P::Connect => CONNECT,
                P::ConnAck => CONNACK,
                P::Publish => PUBLISH,
                P::PubAck | P::PubRec | P::PubRel | P::PubComp | P::SubAck | P::UnsubAck => ACK,
                P::Subscribe => SUBSCRIBE,
                P::Unsubscribe => UNSUBSCRIBE,
                P::Disconnect => DISCONNECT,
                P::Auth => AUTH,
                P::PingReq | P::PingResp => 0,
            },
        }
    }

    fn may_repeat(self, id: u8) -> bool {
        const SUBSCRIPTION_IDENTIFIER: u8 = 11;
        const USER_PROPERTY: u8 = 38;
        id == USER_PROPERTY
            || (id == SUBSCRIPTION_IDENTIFIER && matches!(self, Self::Header(PacketType::Publish, _)))
    }
}

/// Checked properties of a packet, as they stand in it (without the length in front).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self { bytes: &[] };

    /// Reads length and properties, and checks identifiers, values, repetition and dependencies.
    pub(crate) fn decode(r: &mut Reader<'a>, place: Place) -> Result<Self, DecodeError> {
        let at = r.offset();
        let len = r.varint("property length")?;
        let bytes = r
            .take(len as usize, "properties")
            .map_err(|_| r.malformed("property length", at, "reaches past the end of the packet"))?;
        let mut inner = Reader::new(r.packet(), r.offset() - bytes.len(), bytes);
        let allowed = place.allowed();
        let mut seen = 0u64;
        while !inner.is_empty() {
            let at = inner.offset();
            let property = read_property(&mut inner)?;
            let id = property.id();
            let bit = 1u64 << id;
            if allowed & bit == 0 {
                return Err(inner.malformed(property.name(), at, "may not stand in this packet"));
            }
            if seen & bit != 0 && !place.may_repeat(id) {
                return Err(inner.protocol_error(property.name(), at, "stands there twice"));
            }
            seen |= bit;
            check_property(&inner, place, &property, at)?;
        }
        const METHOD: u64 = 1 << 21;
        const DATA: u64 = 1 << 22;
        if seen & DATA != 0 && seen & METHOD == 0 {
            return Err(r.protocol_error("authentication data", at, "comes without authentication method"));
        }
        Ok(Self { bytes })
    }

    /// The properties in order.
    pub fn iter(&self) -> PropertyIter<'a> {
        PropertyIter { reader: Reader::new(PacketType::Publish, 0, self.bytes) }
    }

    /// The encoded properties, without the length in front.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> PropertyIter<'a> {
        self.iter()
    }
}

/// Iterates over checked properties.
#[derive(Clone, Debug)]
pub struct PropertyIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        if self.reader.is_empty() {
            return None;
        }
        // The bytes were checked when the list was made, so this does not fail.
        read_property(&mut self.reader).ok()
    }
}

fn read_property<'a>(r: &mut Reader<'a>) -> Result<Property<'a>, DecodeError> {
    use Property as P;
    let at = r.offset();
    Ok(match r.varint("property identifier")? {
        1 => P::PayloadFormatIndicator(read_bool(r, "payload format indicator")?),
        2 => P::MessageExpiryInterval(r.u32("message expiry interval")?),
        3 => P::ContentType(r.string("content type")?),
        8 => P::ResponseTopic(r.string("response topic")?),
        9 => P::CorrelationData(r.binary("correlation data")?),
        11 => P::SubscriptionIdentifier(r.varint("subscription identifier")?),
        17 => P::SessionExpiryInterval(r.u32("session expiry interval")?),
        18 => P::AssignedClientIdentifier(r.string("assigned client identifier")?),
        19 => P::ServerKeepAlive(r.u16("server keep alive")?),
        21 => P::AuthenticationMethod(r.string("authentication method")?),
        22 => P::AuthenticationData(r.binary("authentication data")?),
        23 => P::RequestProblemInformation(read_bool(r, "request problem information")?),
        24 => P::WillDelayInterval(r.u32("will delay interval")?),
        25 => P::RequestResponseInformation(read_bool(r, "request response information")?),
        26 => P::ResponseInformation(r.string("response information")?),
        28 => P::ServerReference(r.string("server reference")?),
        31 => P::ReasonString(r.string("reason string")?),
        33 => P::ReceiveMaximum(r.u16("receive maximum")?),
        34 => P::TopicAliasMaximum(r.u16("topic alias maximum")?),
        35 => P::TopicAlias(r.u16("topic alias")?),
        36 => P::MaximumQoS(r.u8("maximum QoS")?),
        37 => P::RetainAvailable(read_bool(r, "retain available")?),
        38 => P::UserProperty(r.string("user property")?, r.string("user property")?),
        39 => P::MaximumPacketSize(r.u32("maximum packet size")?),
        40 => P::WildcardSubscriptionAvailable(read_bool(r, "wildcard subscription available")?),
        41 => P::SubscriptionIdentifierAvailable(read_bool(r, "subscription identifier available")?),
        42 => P::SharedSubscriptionAvailable(read_bool(r, "shared subscription available")?),
        _ => return Err(r.malformed("property identifier", at, "is not one MQTT 5 knows")),
    })
}

fn read_bool(r: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    let at = r.offset();
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.protocol_error(field, at, "is neither 0 nor 1")),
    }
}

fn check_property(
    r: &Reader<'_>,
    place: Place,
    property: &Property<'_>,
    at: usize,
) -> Result<(), DecodeError> {
    use Property as P;
    let name = property.name();
    match *property {
        P::ReceiveMaximum(0) | P::MaximumPacketSize(0) | P::SubscriptionIdentifier(0) => {
            Err(r.protocol_error(name, at, "is 0"))
        }
        P::TopicAlias(0) => Err(r.error(ReasonCode::TopicAliasInvalid, name, at, "is 0")),
        P::MaximumQoS(n) if QoS::from_u8(n).is_none_or(|q| q == QoS::ExactlyOnce) => {
            Err(r.protocol_error(name, at, "is neither 0 nor 1"))
        }
        P::ResponseTopic(t) if topic::validate_name(t).is_err() => {
            Err(r.protocol_error(name, at, "is not a topic name: empty or with a wildcard"))
        }
        P::SubscriptionIdentifier(_) if place == Place::Header(PacketType::Publish, Side::Client) => {
            Err(r.protocol_error(name, at, "may not come from a client"))
        }
        P::SessionExpiryInterval(_) if place == Place::Header(PacketType::Disconnect, Side::Server) => {
            Err(r.protocol_error(name, at, "may not come from a server"))
        }
        _ => Ok(()),
    }
}

/// Properties kept with a packet: a slice of the buffer it was received in, or built by [`PropertiesBuf::push`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PropertiesBuf(Bytes);

impl PropertiesBuf {
    /// No properties.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Encodes PUBLISH properties in the order given.
    ///
    /// # Errors
    /// [`EncodeError`] when one is too long, does not belong there, stands there twice, or has a value its peer
    /// must refuse.
    pub fn from_properties<'a>(list: impl IntoIterator<Item = Property<'a>>) -> Result<Self, EncodeError> {
        let packet = PacketType::Publish;
        // What a server may send is all that may stand in a PUBLISH.
        let place = Place::Header(packet, Side::Server);
        let mut seen = 0u64;
        let mut out = BytesMut::new();
        for property in list {
            property.checked_len(packet)?;
            let bit = 1u64 << property.id();
            let invalid = |problem| EncodeError::Invalid { packet, field: property.name(), problem };
            if place.allowed() & bit == 0 {
                return Err(invalid("may not stand in this packet"));
            }
            if seen & bit != 0 && !place.may_repeat(property.id()) {
                return Err(invalid("stands there twice"));
            }
            seen |= bit;
            property.put(&mut out);
        }
        check_len(out.len())?;
        Ok(Self(out.freeze()))
    }

    pub(crate) fn slice_of(buffer: &Bytes, properties: Properties<'_>) -> Self {
        if properties.is_empty() { Self::new() } else { Self(buffer.slice_ref(properties.bytes)) }
    }

    /// The properties, borrowed.
    pub fn properties(&self) -> Properties<'_> {
        Properties { bytes: &self.0 }
    }

    /// The properties in order.
    pub fn iter(&self) -> PropertyIter<'_> {
        self.properties().iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Something that has properties to write: calls `f` once for each, in order.
pub(crate) trait PropertySource {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError>;

    /// Length of the encoded properties, without the length in front.
    fn len(&self, packet: PacketType) -> Result<usize, EncodeError> {
        let mut len = 0usize;
        self.for_each(&mut |p| {
            len += p.checked_len(packet)?;
            Ok(())
        })?;
        check_len(len)
    }

    /// Writes length and properties; `len` is from [`PropertySource::len`].
    fn put(&self, len: usize, out: &mut impl BufMut) -> Result<(), EncodeError> {
        put_varint(out, len);
        self.for_each(&mut |p| {
            p.put(out);
            Ok(())
        })
    }
}

/// Bytes a property list takes with its length in front.
pub(crate) fn block_len(len: usize) -> usize {
    varint_len(len) + len
}

/// Calls `f` for each user property.
pub(crate) fn each_user_property<'a>(
    list: &'a [UserProperty],
    f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    list.iter().try_for_each(|u| f(Property::UserProperty(&u.name, &u.value)))
}

/// Writes one extra property behind a ready list; see [`PublishHead`](crate::PublishHead).
pub(crate) fn extra_len(packet: PacketType, extra: &[Property<'_>]) -> Result<usize, EncodeError> {
    extra.iter().try_fold(0usize, |sum, p| Ok(sum + p.checked_len(packet)?))
}

pub(crate) fn put_extra(extra: &[Property<'_>], out: &mut impl BufMut) {
    for property in extra {
        property.put(out);
    }
}

impl<'a> Properties<'a> {
    /// PUBLISH: the topic alias.
    pub fn topic_alias(&self) -> Option<u16> {
        self.iter().find_map(|p| if let Property::TopicAlias(n) = p { Some(n) } else { None })
    }

    /// PUBLISH: lifetime in seconds.
    pub fn message_expiry_interval(&self) -> Option<u32> {
        self.iter().find_map(|p| if let Property::MessageExpiryInterval(n) = p { Some(n) } else { None })
    }

    /// PUBLISH: whether the payload is declared to be UTF-8.
    pub fn payload_format_indicator(&self) -> Option<bool> {
        self.iter().find_map(|p| if let Property::PayloadFormatIndicator(b) = p { Some(b) } else { None })
    }

    /// PUBLISH: content type.
    pub fn content_type(&self) -> Option<&'a str> {
        self.iter().find_map(|p| if let Property::ContentType(s) = p { Some(s) } else { None })
    }

    /// PUBLISH: response topic.
    pub fn response_topic(&self) -> Option<&'a str> {
        self.iter().find_map(|p| if let Property::ResponseTopic(s) = p { Some(s) } else { None })
    }

    /// PUBLISH: correlation data.
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.iter().find_map(|p| if let Property::CorrelationData(b) = p { Some(b) } else { None })
    }

    /// PUBLISH from a server: identifiers of the subscriptions that matched.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|p| if let Property::SubscriptionIdentifier(n) = p { Some(n) } else { None })
    }

    /// User properties in order, as (name, value).
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|p| if let Property::UserProperty(n, v) = p { Some((n, v)) } else { None })
    }
}
