//! SUBSCRIBE and SUBACK.

use bytes::BufMut;

use super::{AckProperties, check_reason, read_reason};
use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, put_fixed_header};
use crate::property::{
    Place, Properties, Property, PropertySource, UserProperty, block_len, each_user_property,
};
use crate::reason::ReasonCode;
use crate::topic;
use crate::version::{PacketId, ProtocolVersion, QoS, Side};
use crate::wire::{Reader, check_len, put_field, string_len};

/// When a server sends retained messages for a new subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetainHandling {
    /// At each SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only when the subscription did not exist before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// One topic filter of a SUBSCRIBE with its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// Topic filter, valid; in MQTT 5 perhaps of a shared subscription.
    pub filter: String,
    /// Highest QoS wanted.
    pub qos: QoS,
    /// MQTT 5: not what this client itself publishes.
    pub no_local: bool,
    /// MQTT 5: keep the retain flag as published.
    pub retain_as_published: bool,
    /// MQTT 5: when to send retained messages.
    pub retain_handling: RetainHandling,
}

impl Subscription {
    /// A subscription with default options.
    pub fn new(filter: impl Into<String>, qos: QoS) -> Self {
        Self { filter: filter.into(), qos, ..Self::default() }
    }

    fn decode(r: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let filter = read_filter(r, version)?;
        let at = r.offset();
        let options = r.u8("subscription options")?;
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if options & reserved != 0 {
            return Err(r.malformed("subscription options", at, "reserved bits are set"));
        }
        let qos = QoS::from_u8(options & 0b11)
            .ok_or_else(|| r.malformed("subscription options", at, "QoS is 3"))?;
        let retain_handling = match (options >> 4) & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(r.protocol_error("subscription options", at, "retain handling is 3")),
        };
        let no_local = options & 0b100 != 0;
        if no_local && topic::is_shared(filter) {
            return Err(r.protocol_error("subscription options", at, "no local on a shared subscription"));
        }
        Ok(Self {
            filter: filter.to_owned(),
            qos,
            no_local,
            retain_as_published: options & 0b1000 != 0,
            retain_handling,
        })
    }

    fn options(&self, version: ProtocolVersion) -> u8 {
        if !version.is_v5() {
            return self.qos.as_u8();
        }
        self.qos.as_u8()
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// Reads a topic filter and checks it. Before MQTT 5 `$share` is a level like any other.
pub(super) fn read_filter<'a>(r: &mut Reader<'a>, version: ProtocolVersion) -> Result<&'a str, DecodeError> {
    let at = r.offset();
    let filter = r.string("topic filter")?;
    let problem = match validate_filter(filter, version) {
        Ok(()) => return Ok(filter),
        Err(topic::TopicError::Empty) => "is empty",
        Err(topic::TopicError::Share) => "is not $share/{name}/{filter}",
        Err(_) => "has a wildcard that is not a whole level, or levels after '#'",
    };
    // An empty filter or a bad share name is named a Protocol Error, a misplaced wildcard makes the packet
    // malformed: both end the connection, with the more telling of the two.
    Err(r.malformed("topic filter", at, problem))
}

/// Checks a filter; before MQTT 5 a `$share` level is no more than a level.
pub(super) fn validate_filter(filter: &str, version: ProtocolVersion) -> Result<(), topic::TopicError> {
    if version.is_v5() { topic::validate_filter(filter) } else { topic::validate_unshared_filter(filter) }
}

/// Checks a filter that is to be sent and gives its length on the wire.
pub(super) fn filter_len(
    packet: PacketType,
    filter: &str,
    version: ProtocolVersion,
) -> Result<usize, EncodeError> {
    if validate_filter(filter, version).is_err() {
        return Err(EncodeError::Invalid { packet, field: "topic filter", problem: "is not a topic filter" });
    }
    string_len(packet, "topic filter", filter)
}

/// A request to subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// To be repeated in SUBACK.
    pub packet_id: PacketId,
    /// Left out before MQTT 5.
    pub properties: SubscribeProperties,
    /// At least one.
    pub subscriptions: Vec<Subscription>,
}

impl Subscribe {
    /// Subscribes without properties.
    pub fn new(packet_id: PacketId, subscriptions: Vec<Subscription>) -> Self {
        Self { packet_id, properties: SubscribeProperties::default(), subscriptions }
    }

    pub(crate) fn decode(r: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        let properties =
            if version.is_v5() { SubscribeProperties::decode(r)? } else { SubscribeProperties::default() };
        let mut subscriptions = Vec::new();
        if r.is_empty() {
            return Err(r.protocol_error("payload", r.offset(), "holds no topic filter"));
        }
        while !r.is_empty() {
            subscriptions.push(Subscription::decode(r, version)?);
        }
        Ok(Self { packet_id, properties, subscriptions })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`EncodeError`] when a filter or property is not valid, or there is no filter; nothing has been written
    /// then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::Subscribe;
        let invalid = |field, problem| EncodeError::Invalid { packet, field, problem };
        if self.subscriptions.is_empty() {
            return Err(invalid("payload", "holds no topic filter"));
        }
        let mut len = 2;
        let properties_len = if version.is_v5() { self.properties.len(packet)? } else { 0 };
        if version.is_v5() {
            len += block_len(properties_len);
        }
        for s in &self.subscriptions {
            len += filter_len(packet, &s.filter, version)? + 1;
            if version.is_v5() && s.no_local && topic::is_shared(&s.filter) {
                return Err(invalid("subscription options", "no local on a shared subscription"));
            }
        }
        put_fixed_header(out, packet, packet.fixed_flags(), check_len(len)?)?;
        out.put_u16(self.packet_id.get());
        if version.is_v5() {
            self.properties.put(properties_len, out)?;
        }
        for s in &self.subscriptions {
            put_field(out, s.filter.as_bytes());
            out.put_u8(s.options(version));
        }
        Ok(())
    }
}

/// Properties of SUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeProperties {
    /// Comes back with each message this SUBSCRIBE brings; 1 to 268,435,455.
    pub subscription_identifier: Option<u32>,
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
}

impl SubscribeProperties {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        for property in Properties::decode(r, Place::Header(PacketType::Subscribe, Side::Client))? {
            match property {
                Property::SubscriptionIdentifier(n) => found.subscription_identifier = Some(n),
                Property::UserProperty(n, v) => found.user_properties.push(UserProperty::new(n, v)),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl PropertySource for SubscribeProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if let Some(n) = self.subscription_identifier {
            f(Property::SubscriptionIdentifier(n))?;
        }
        each_user_property(&self.user_properties, f)
    }
}

/// The answer to SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    /// From the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Left out before MQTT 5.
    pub properties: AckProperties,
    /// One for each filter, in order. MQTT 3.1.1 has one failure, 0x80; MQTT 3.1 has none.
    pub reasons: Vec<ReasonCode>,
}

impl SubAck {
    /// Without properties.
    pub fn new(packet_id: PacketId, reasons: Vec<ReasonCode>) -> Self {
        Self { packet_id, properties: AckProperties::default(), reasons }
    }

    pub(crate) fn decode(r: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        let properties =
            if version.is_v5() { AckProperties::decode(r, Side::Server)? } else { AckProperties::default() };
        if r.is_empty() {
            return Err(r.protocol_error("payload", r.offset(), "holds no reason code"));
        }
        let mut reasons = Vec::new();
        while !r.is_empty() {
            let at = r.offset();
            let reason = read_reason(r)?;
            if !version.is_v5() && !matches!(reason.as_u8(), 0..=2 | 0x80) {
                return Err(r.protocol_error("return code", at, "is not 0, 1, 2 or 128"));
            }
            reasons.push(reason);
        }
        Ok(Self { packet_id, properties, reasons })
    }

    /// Writes the packet. Before MQTT 5 all errors become 0x80.
    ///
    /// # Errors
    /// [`EncodeError`] when a reason or property is not valid; nothing has been written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::SubAck;
        if self.reasons.is_empty() {
            let problem = "holds no reason code";
            return Err(EncodeError::Invalid { packet, field: "payload", problem });
        }
        for reason in &self.reasons {
            check_reason(packet, *reason)?;
        }
        let mut len = 2 + self.reasons.len();
        let properties_len = if version.is_v5() { self.properties.len(packet)? } else { 0 };
        if version.is_v5() {
            len += block_len(properties_len);
        }
        put_fixed_header(out, packet, 0, check_len(len)?)?;
        out.put_u16(self.packet_id.get());
        if version.is_v5() {
            self.properties.put(properties_len, out)?;
        }
        for reason in &self.reasons {
            let code =
                if version.is_v5() || !reason.is_error() { *reason } else { ReasonCode::UnspecifiedError };
            out.put_u8(code.as_u8());
        }
        Ok(())
    }
}
