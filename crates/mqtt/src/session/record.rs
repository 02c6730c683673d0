//! How a session stands in `__mqtt_sessions`, a compacted topic.
//!
//! All records of a client id are in one partition, so the log keeps their order. Keys: the client id for the
//! session itself; the client id, a zero byte and `c` for its checkpoint; … `i` and two bytes for a packet
//! identifier of an inbound QoS 2 publish; … `o` and two bytes for a slot of an outbound one; a shared filter, a zero
//! byte and `g` for the cursors of a share group; … `q` and a node's name for that node's claim to the session, where
//! several nodes share the log. (A client id holds no zero byte.) Values begin with a version and the session's generation: parts of another generation
//! than the session's are leftovers. Integers are big-endian, strings and byte strings have a length before them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mqtt_codec::{PropertiesBuf, PublishRef, QoS};

use super::Will;
use crate::message::Publication;

const VERSION: u8 = 1;

/// A partition by name: numbers do not outlive the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: Bytes,
    pub(crate) partition: i32,
}

/// The session itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) generation: u64,
    pub(crate) expiry_s: u32,
    /// `None` = connected when this was written.
    pub(crate) disconnected_ms: Option<i64>,
    pub(crate) will: Option<Will>,
    pub(crate) subscriptions: Vec<StoredSubscription>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSubscription {
    pub(crate) filter: Bytes,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
    pub(crate) replays: bool,
    pub(crate) id: Option<u32>,
    pub(crate) starts: Vec<(Place, i64)>,
}

/// Cursors and what is in flight with QoS 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) generation: u64,
    pub(crate) next_id: u16,
    /// Next offset of each partition.
    pub(crate) cursors: Vec<(Place, i64)>,
    /// QoS 2 messages before this offset were handed out.
    pub(crate) qos2_floors: Vec<(Place, i64)>,
    pub(crate) in_flight: Vec<InFlight>,
}

/// One outbound publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) id: u16,
    pub(crate) place: Place,
    pub(crate) offset: i64,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Its place has nothing to do with the session's own cursors: it came from the retained messages or through a
    /// share group.
    pub(crate) from_retained: bool,
    pub(crate) subscription_ids: Vec<u32>,
}

/// A slot of an outbound QoS 2 publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) generation: u64,
    pub(crate) state: SlotState,
    pub(crate) in_flight: InFlight,
    /// How far QoS 2 messages were handed out since the last checkpoint.
    pub(crate) qos2_floors: Vec<(Place, i64)>,
}

/// How far a slot's publish got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// PUBLISH may have been sent.
    Publish,
    /// PUBREC was received.
    Release,
    /// PUBCOMP was received.
    Free,
}

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Base,
    Checkpoint,
    Inbound(u16),
    Slot(u16),
    /// The checkpoint of a share group; the key's client id is the shared filter.
    Group,
    /// A node's claim to the session.
    Claim(Bytes),
}

impl Key {
    /// The record key for this part of a client's session.
    pub(crate) fn of(&self, client_id: &[u8]) -> Bytes {
        let mut key = BytesMut::with_capacity(client_id.len() + 4);
        key.put_slice(client_id);
        match self {
            Self::Base => {}
            Self::Checkpoint => key.put_slice(b"\0c"),
            Self::Group => key.put_slice(b"\0g"),
            Self::Claim(node) => {
                key.put_slice(b"\0q");
                key.put_slice(node);
            }
            Self::Inbound(n) => {
                key.put_slice(b"\0i");
                key.put_u16(*n);
            }
            Self::Slot(n) => {
                key.put_slice(b"\0o");
                key.put_u16(*n);
            }
        }
        key.freeze()
    }

    /// Takes a record key apart; `None` when it is none of ours.
    pub(crate) fn parse(key: &Bytes) -> Option<(Bytes, Self)> {
        let Some(zero) = key.iter().position(|b| *b == 0) else { return Some((key.clone(), Self::Base)) };
        let part = match key.get(zero + 1..)? {
            b"c" => Self::Checkpoint,
            b"g" => Self::Group,
            [b'q', _, ..] => Self::Claim(key.slice(zero + 2..)),
            [b'i', high, low] => Self::Inbound(u16::from_be_bytes([*high, *low])),
            [b'o', high, low] => Self::Slot(u16::from_be_bytes([*high, *low])),
            _ => return None,
        };
        Some((key.slice(..zero), part))
    }
}

/// Writes a packet identifier's record.
pub(crate) fn encode_inbound(generation: u64) -> Bytes {
    head(generation).freeze()
}

/// Writes a claim; `urgent`: a client waits for the session.
pub(crate) fn encode_claim(urgent: bool) -> Bytes {
    Bytes::copy_from_slice(&[VERSION, u8::from(urgent)])
}

/// Reads a claim.
pub(crate) fn decode_claim(value: &Bytes) -> Option<bool> {
    match value.get(..)? {
        [VERSION, urgent @ (0 | 1)] => Some(*urgent == 1),
        _ => None,
    }
}

/// Reads the generation that any record begins with.
pub(crate) fn decode_generation(value: &Bytes) -> Option<u64> {
    let mut r = Input(value.clone());
    (r.u8()? == VERSION).then_some(())?;
    r.u64()
}

fn head(generation: u64) -> BytesMut {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(VERSION);
    out.put_u64(generation);
    out
}

impl Base {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = head(self.generation);
        out.put_u32(self.expiry_s);
        put_option(&mut out, self.disconnected_ms.as_ref(), |out, ms| out.put_i64(*ms));
        put_option(&mut out, self.will.as_ref(), |out, will| {
            out.put_u32(will.delay_s);
            put_publication(out, &will.publication);
        });
        put_list(&mut out, &self.subscriptions, |out, s| {
            put_bytes(out, &s.filter);
            let options = s.qos.as_u8()
                | u8::from(s.no_local) << 2
                | u8::from(s.retain_as_published) << 3
                | s.retain_handling << 4
                | u8::from(s.replays) << 6;
            out.put_u8(options);
            put_option(out, s.id.as_ref(), |out, id| out.put_u32(*id));
            put_places(out, &s.starts);
        });
        out.freeze()
    }

    pub(crate) fn decode(value: &Bytes) -> Option<Self> {
        let mut r = Input(value.clone());
        (r.u8()? == VERSION).then_some(())?;
        let base = Self {
            generation: r.u64()?,
            expiry_s: r.u32()?,
            disconnected_ms: r.option(Input::i64)?,
            will: r.option(|r| Some(Will { delay_s: r.u32()?, publication: r.publication()? }))?,
            subscriptions: r.list(|r| {
                let filter = r.bytes()?;
                let options = r.u8()?;
                Some(StoredSubscription {
                    filter,
                    qos: QoS::from_u8(options & 0b11)?,
                    no_local: options & 0b100 != 0,
                    retain_as_published: options & 0b1000 != 0,
                    retain_handling: (options >> 4) & 0b11,
                    replays: options & 0b100_0000 != 0,
                    id: r.option(Input::u32)?,
                    starts: r.places()?,
                })
            })?,
        };
        r.0.is_empty().then_some(base)
    }
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = head(self.generation);
        out.put_u16(self.next_id);
        put_places(&mut out, &self.cursors);
        put_places(&mut out, &self.qos2_floors);
        put_list(&mut out, &self.in_flight, put_in_flight);
        out.freeze()
    }

    pub(crate) fn decode(value: &Bytes) -> Option<Self> {
        let mut r = Input(value.clone());
        (r.u8()? == VERSION).then_some(())?;
        let checkpoint = Self {
            generation: r.u64()?,
            next_id: r.u16()?,
            cursors: r.places()?,
            qos2_floors: r.places()?,
            in_flight: r.list(Input::in_flight)?,
        };
        r.0.is_empty().then_some(checkpoint)
    }
}

impl Slot {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = head(self.generation);
        out.put_u8(match self.state {
            SlotState::Publish => 1,
            SlotState::Release => 2,
            SlotState::Free => 0,
        });
        put_in_flight(&mut out, &self.in_flight);
        put_places(&mut out, &self.qos2_floors);
        out.freeze()
    }

    pub(crate) fn decode(value: &Bytes) -> Option<Self> {
        let mut r = Input(value.clone());
        (r.u8()? == VERSION).then_some(())?;
        let slot = Self {
            generation: r.u64()?,
            state: match r.u8()? {
                0 => SlotState::Free,
                1 => SlotState::Publish,
                2 => SlotState::Release,
                _ => return None,
            },
            in_flight: r.in_flight()?,
            qos2_floors: r.places()?,
        };
        r.0.is_empty().then_some(slot)
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn put_option<T>(out: &mut BytesMut, value: Option<&T>, put: impl FnOnce(&mut BytesMut, &T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_list<T>(out: &mut BytesMut, list: &[T], mut put: impl FnMut(&mut BytesMut, &T)) {
    out.put_u32(u32::try_from(list.len()).unwrap_or(u32::MAX));
    for item in list {
        put(out, item);
    }
}

fn put_places(out: &mut BytesMut, list: &[(Place, i64)]) {
    put_list(out, list, |out, (place, offset)| {
        put_bytes(out, &place.topic);
        out.put_i32(place.partition);
        out.put_i64(*offset);
    });
}

fn put_in_flight(out: &mut BytesMut, f: &InFlight) {
    out.put_u16(f.id);
    put_places(out, &[(f.place.clone(), f.offset)]);
    out.put_u8(f.qos.as_u8() | u8::from(f.retain) << 2 | u8::from(f.from_retained) << 3);
    put_list(out, &f.subscription_ids, |out, id| out.put_u32(*id));
}

fn put_publication(out: &mut BytesMut, p: &Publication) {
    put_bytes(out, &p.topic);
    put_bytes(out, &p.payload);
    out.put_u8(p.qos.as_u8() | u8::from(p.retain) << 2);
    put_option(out, p.expiry_s.as_ref(), |out, s| out.put_u32(*s));
    put_option(out, p.client.as_ref(), |out, c| put_bytes(out, c));
    put_bytes(out, p.properties.properties().as_bytes());
}

/// Reads with every length checked against what is there.
struct Input(Bytes);

impl Input {
    fn u8(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.0.try_get_u16().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    fn i64(&mut self) -> Option<i64> {
        self.0.try_get_i64().ok()
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let len = self.u32()? as usize;
        (len <= self.0.len()).then(|| self.0.split_to(len))
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        // Nothing is allocated by the count: each item takes at least a byte.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }

    fn places(&mut self) -> Option<Vec<(Place, i64)>> {
        self.list(|r| {
            let place = Place { topic: r.bytes()?, partition: r.0.try_get_i32().ok()? };
            Some((place, r.i64()?))
        })
    }

    fn in_flight(&mut self) -> Option<InFlight> {
        let id = self.u16()?;
        let (place, offset) = self.places()?.pop()?;
        let flags = self.u8()?;
        Some(InFlight {
            id,
            place,
            offset,
            qos: QoS::from_u8(flags & 0b11)?,
            retain: flags & 0b100 != 0,
            from_retained: flags & 0b1000 != 0,
            subscription_ids: self.list(Self::u32)?,
        })
    }

    fn publication(&mut self) -> Option<Publication> {
        let topic = self.bytes()?;
        let payload = self.bytes()?;
        let flags = self.u8()?;
        Some(Publication {
            topic,
            payload,
            qos: QoS::from_u8(flags & 0b11)?,
            retain: flags & 0b100 != 0,
            expiry_s: self.option(Self::u32)?,
            client: self.option(Self::bytes)?,
            source: None,
            properties: checked_properties(&self.bytes()?)?,
        })
    }
}

/// Checks properties as the codec does: by decoding a PUBLISH that carries them.
fn checked_properties(bytes: &Bytes) -> Option<PropertiesBuf> {
    if bytes.is_empty() {
        return Some(PropertiesBuf::new());
    }
    use mqtt_codec::{Framing, ProtocolVersion, Side};
    let mut body = BytesMut::new();
    body.put_slice(b"\0\x01x");
    put_varint(&mut body, bytes.len());
    body.put_slice(bytes);
    let mut frame = BytesMut::new();
    frame.put_u8(0x30);
    put_varint(&mut frame, body.len());
    frame.put_slice(&body);
    let version = ProtocolVersion::V5;
    let Ok(Framing::Whole(header)) = mqtt_codec::peek(&frame, Some(version), u32::MAX) else { return None };
    let publish = PublishRef::decode(&frame, header, version, Side::Client).ok()?;
    PropertiesBuf::from_properties(publish.properties.iter()).ok()
}

fn put_varint(out: &mut BytesMut, mut n: usize) {
    loop {
        let low = (n & 0x7F) as u8;
        n >>= 7;
        out.put_u8(if n == 0 { low } else { low | 0x80 });
        if n == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_codec::Property;
    use proptest::prelude::*;

    fn place() -> Place {
        Place { topic: Bytes::from_static(b"sensors"), partition: 3 }
    }

    fn in_flight() -> InFlight {
        InFlight {
            id: 5,
            place: place(),
            offset: 77,
            qos: QoS::ExactlyOnce,
            retain: true,
            from_retained: false,
            subscription_ids: vec![1, 268_435_455],
        }
    }

    fn base() -> Base {
        let properties = [Property::ContentType("text"), Property::UserProperty("a", "b")];
        Base {
            generation: 42,
            expiry_s: 3600,
            disconnected_ms: Some(1_700_000_000_000),
            will: Some(Will {
                delay_s: 9,
                publication: Publication {
                    topic: Bytes::from_static(b"w/t"),
                    payload: Bytes::from_static(b"gone"),
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    properties: PropertiesBuf::from_properties(properties).unwrap(),
                    expiry_s: Some(7),
                    client: None,
                    source: None,
                },
            }),
            subscriptions: vec![StoredSubscription {
                filter: Bytes::from_static(b"a/+/#"),
                qos: QoS::AtLeastOnce,
                no_local: true,
                retain_as_published: true,
                retain_handling: 2,
                replays: true,
                id: Some(99),
                starts: vec![(place(), 12)],
            }],
        }
    }

    fn slot() -> Slot {
        Slot {
            generation: 1,
            state: SlotState::Release,
            in_flight: in_flight(),
            qos2_floors: vec![(place(), 78)],
        }
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            generation: 8,
            next_id: 2,
            cursors: vec![(place(), 100)],
            qos2_floors: vec![],
            in_flight: vec![in_flight(), in_flight()],
        }
    }

    #[test]
    fn everything_comes_back() {
        assert_eq!(Base::decode(&base().encode()), Some(base()));
        assert_eq!(Checkpoint::decode(&checkpoint().encode()), Some(checkpoint()));
        assert_eq!(Slot::decode(&slot().encode()), Some(slot()));
        assert_eq!(decode_generation(&encode_inbound(31)), Some(31));
        for key in [Key::Base, Key::Checkpoint, Key::Group, Key::Inbound(0), Key::Slot(65_535)] {
            assert_eq!(Key::parse(&key.of(b"client/1")), Some((Bytes::from_static(b"client/1"), key)));
        }
        assert_eq!(Key::parse(&Bytes::from_static(b"x\0z")), None);
    }

    #[test]
    fn version_1_bytes_stay_readable() {
        // Bytes of version 1, never to be changed: a data directory of today must open for ever.
        let hex = |b: &[u8]| b.iter().map(|x| format!("{x:02x}")).collect::<String>();
        assert_eq!(
            hex(&slot().encode()),
            "0100000000000000010200050000000100000007\
             73656e736f727300000003000000000000004d0600000002\
             000000010fffffff000000010000000773656e736f7273000000030000\
             00000000004e"
        );
        assert_eq!(hex(&encode_inbound(31)), "01000000000000001f");
    }

    proptest! {
        #[test]
        fn damaged_records_are_refused_or_read_but_never_panic(cut in 0usize..200, flip in 0usize..200, bit in 0u8..8) {
            for whole in [base().encode(), checkpoint().encode(), slot().encode()] {
                let short = whole.slice(..cut.min(whole.len() - 1));
                prop_assert_eq!(Base::decode(&short).is_some() && Slot::decode(&short).is_some(), false);
                let mut bad = whole.to_vec();
                let at = flip % bad.len();
                bad[at] ^= 1 << bit;
                let bad = Bytes::from(bad);
                let _ = (Base::decode(&bad), Checkpoint::decode(&bad), Slot::decode(&bad), Key::parse(&bad));
            }
        }
    }
}
