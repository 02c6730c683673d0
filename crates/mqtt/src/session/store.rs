//! Sessions in the log: writing them, and reading all of them at start.

use std::sync::Arc;

use bytes::Bytes;
use client::door::{
    Ack, Door, DoorError, NewTopic, Record, StartAt, StoredRecord, TopicPartition, partition_for_key,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use mqtt_codec::PacketId;

use super::record::{self, Base, Checkpoint, InFlight, Key, Place, Slot, SlotState, StoredSubscription};
use super::{Entry, Origin, Session, State};
use crate::deliver::{Consumer, Hub, Partition, QueueLimits, ShareGroup};
use crate::error::MqttError;
use crate::message::{Message, PartitionId, Position};
use crate::packet::replay::Replay;
use crate::subscriptions::Subscription;

/// Compacted topic of sessions.
pub(crate) const SESSIONS: &str = "__mqtt_sessions";
/// Compacted topic of retained messages.
pub(crate) const RETAINED: &str = "__mqtt_retained";

/// Compacted topic of the nodes that share a log.
pub(crate) const NODES: &str = "__mqtt_nodes";

/// What a write to the log answers with.
pub(crate) type Written = BoxFuture<'static, Result<(), DoorError>>;

/// Writes sessions.
#[derive(Clone)]
pub(crate) struct SessionStore {
    hub: Arc<Hub>,
    topic: Arc<str>,
    partitions: i32,
    /// Several nodes share the log: whatever is written of a session is written under this node's name.
    named: bool,
}

impl std::fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionStore").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

/// Parts of a session to write: keys and values; `None` deletes.
pub(crate) type Parts = Vec<(Key, Option<Bytes>)>;

impl SessionStore {
    pub(crate) fn new(hub: Arc<Hub>, partitions: i32) -> Self {
        let named = hub.door.nodes().is_some();
        Self { hub, topic: SESSIONS.into(), partitions, named }
    }

    /// The records of these parts, to be appended together with others.
    pub(crate) fn records(&self, client_id: &Bytes, parts: Parts) -> Vec<(TopicPartition, Record)> {
        let partition = partition_for_key(client_id, self.partitions);
        let to = TopicPartition::new(self.topic.clone(), partition);
        parts
            .into_iter()
            .map(|(key, value)| {
                (to.clone(), Record { key: Some(key.of(client_id)), value, ..Record::default() })
            })
            .collect()
    }

    /// Writes parts of a session, all or none.
    pub(crate) fn write(&self, client_id: &Bytes, parts: Parts) -> Written {
        let mut records = self.records(client_id, parts);
        if records.len() == 1
            && !self.named
            && let Some((to, record)) = records.pop()
        {
            let done = self.hub.door.append(&to, record, Ack::All);
            return done.map(|r| r.map(|_| ())).boxed();
        }
        self.hub.door.append_atomic(records).map(|r| r.map(|_| ())).boxed()
    }

    /// The session's own record.
    pub(crate) fn base(&self, session: &Session) -> (Key, Option<Bytes>) {
        let subscriptions = session
            .consumer
            .subscriptions()
            .into_iter()
            .map(|(filter, s)| StoredSubscription {
                filter: Bytes::copy_from_slice(filter.as_bytes()),
                qos: s.qos,
                no_local: s.no_local,
                retain_as_published: s.retain_as_published,
                retain_handling: s.retain_handling,
                replays: s.replays,
                id: s.id,
                starts: self.places(s.starts.iter().filter(|(partition, start)| {
                    // A start that the cursor has passed says nothing any more.
                    session.consumer.cursor(*partition).is_none_or(|next| next < *start)
                })),
            })
            .collect();
        let base = Base {
            generation: session.generation,
            expiry_s: session.expiry_s,
            disconnected_ms: session.disconnected_ms,
            will: session.will.clone(),
            subscriptions,
        };
        (Key::Base, Some(base.encode()))
    }

    /// The session's checkpoint. Writing it covers all QoS 2 floors so far, so slots that are free go with it.
    pub(crate) fn checkpoint(&self, session: &mut Session) -> Parts {
        let cursors: Vec<_> = session.consumer.cursors().iter().map(|c| (c.partition, c.next)).collect();
        let floors: Vec<_> = session.consumer.qos2_floors();
        let in_flight = session
            .outbound
            .entries()
            .filter(|e| e.slot.is_none())
            .filter_map(|e| self.in_flight(e.id, &e.origin))
            .collect();
        let checkpoint = Checkpoint {
            generation: session.generation,
            next_id: session.outbound.next_id().get(),
            cursors: self.places(cursors.iter()),
            qos2_floors: self.places(floors.iter()),
            in_flight,
        };
        session.qos2_floors.clear();
        session.dirty = false;
        let mut parts = vec![(Key::Checkpoint, Some(checkpoint.encode()))];
        let Session { slots_written, outbound, .. } = session;
        slots_written.retain(|slot| {
            let used = outbound.uses_slot(*slot);
            if !used {
                parts.push((Key::Slot(*slot), None));
            }
            used
        });
        parts
    }

    /// The session's own record together with its checkpoint.
    pub(crate) fn whole(&self, session: &mut Session) -> Parts {
        let mut parts = vec![self.base(session)];
        parts.extend(self.checkpoint(session));
        parts
    }

    /// Forgets the cursors of a share group.
    pub(crate) fn end_group(&self, name: &str) -> Written {
        self.write(&Bytes::copy_from_slice(name.as_bytes()), vec![(Key::Group, None)])
    }

    /// Writes the cursors of a share group.
    pub(crate) fn write_group(&self, group: &ShareGroup) -> Written {
        let name = Bytes::copy_from_slice(group.name.as_bytes());
        self.write(&name, vec![(Key::Group, Some(self.group_value(group)))])
    }

    /// The record of a share group's cursors, or the tombstone for it.
    pub(crate) fn group_records(&self, group: &ShareGroup, keep: bool) -> Vec<(TopicPartition, Record)> {
        let name = Bytes::copy_from_slice(group.name.as_bytes());
        self.records(&name, vec![(Key::Group, keep.then(|| self.group_value(group)))])
    }

    fn group_value(&self, group: &ShareGroup) -> Bytes {
        let cursors: Vec<_> = group.cursors().iter().map(|c| (c.partition, c.next)).collect();
        let checkpoint = Checkpoint {
            generation: 0,
            next_id: 0,
            cursors: self.places(cursors.iter()),
            qos2_floors: Vec::new(),
            in_flight: Vec::new(),
        };
        checkpoint.encode()
    }

    /// An outbound QoS 2 publish before PUBLISH (or PUBREL) is sent.
    pub(crate) fn slot(
        &self,
        session: &mut Session,
        slot: u16,
        id: PacketId,
        origin: &Origin,
        state: SlotState,
    ) -> Option<(Key, Option<Bytes>)> {
        if let Some(at) = origin.position.filter(|_| !origin.from_retained && origin.share.is_none()) {
            let floor = session.qos2_floors.entry(at.partition).or_insert(0);
            *floor = (*floor).max(at.offset + 1);
            session.consumer.note_qos2(at.partition, at.offset + 1);
        }
        session.slots_written.insert(slot);
        let floors: Vec<_> = session.qos2_floors.iter().map(|(p, f)| (*p, *f)).collect();
        let value = Slot {
            generation: session.generation,
            state,
            in_flight: self.in_flight(id, origin)?,
            qos2_floors: self.places(floors.iter()),
        };
        Some((Key::Slot(slot), Some(value.encode())))
    }

    /// An inbound QoS 2 packet identifier.
    pub(crate) fn inbound(session: &Session, id: PacketId) -> (Key, Option<Bytes>) {
        (Key::Inbound(id.get()), Some(record::encode_inbound(session.generation)))
    }

    /// Tombstones of inbound QoS 2 packet identifiers.
    pub(crate) fn inbound_forgotten(ids: &[PacketId]) -> Parts {
        ids.iter().map(|id| (Key::Inbound(id.get()), None)).collect()
    }

    /// Tombstones for everything of a session.
    pub(crate) fn end(session: &Session) -> Parts {
        let mut parts = vec![(Key::Base, None), (Key::Checkpoint, None)];
        parts.extend(session.slots_written.iter().map(|n| (Key::Slot(*n), None)));
        parts.extend(session.inbound.ids().map(|id| (Key::Inbound(id.get()), None)));
        parts
    }

    fn places<'a>(&self, list: impl Iterator<Item = &'a (PartitionId, i64)>) -> Vec<(Place, i64)> {
        list.filter_map(|(partition, offset)| Some((self.place(*partition)?, *offset))).collect()
    }

    fn place(&self, partition: PartitionId) -> Option<Place> {
        let p = self.hub.partitions.by_id(partition)?;
        let topic = Bytes::copy_from_slice(p.name.topic.as_bytes());
        Some(Place { topic, partition: p.name.partition })
    }

    fn in_flight(&self, id: PacketId, origin: &Origin) -> Option<InFlight> {
        let at = origin.position?;
        Some(InFlight {
            id: id.get(),
            place: self.place(at.partition)?,
            offset: at.offset,
            qos: origin.qos,
            retain: origin.retain,
            from_retained: origin.from_retained || origin.share.is_some(),
            subscription_ids: origin.subscription_ids.clone(),
        })
    }
}

/// As Kafka's own internal topics have it.
const SEGMENT_BYTES: u32 = 100 << 20;

/// Creates the two internal topics if they are not there, and answers their partition counts.
pub(crate) async fn ensure_topics(door: &dyn Door, partitions: i32) -> Result<(i32, i32), MqttError> {
    for name in [SESSIONS, RETAINED] {
        door.create_topic(NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            configs: vec![
                ("cleanup.policy".to_owned(), "compact".to_owned()),
                // Only closed segments are compacted: they must not be too large.
                ("segment.bytes".to_owned(), SEGMENT_BYTES.to_string()),
            ],
        })
        .await?;
    }
    let mut topics = door.topics();
    let image = topics
        .wait_for(|image| image.get(SESSIONS).is_some() && image.get(RETAINED).is_some())
        .await
        .map_err(|_| DoorError::Unavailable("the log was closed".to_owned()))?;
    let count = |name| image.get(name).map_or(1, |t| t.partitions);
    Ok((count(SESSIONS), count(RETAINED)))
}

/// Reads a whole partition, record by record.
pub(crate) async fn read_all(
    door: &dyn Door,
    of: &TopicPartition,
    mut each: impl FnMut(StoredRecord),
) -> Result<(), DoorError> {
    let mut next = door.offset_at(of, StartAt::Earliest).await?;
    let end = door.offset_at(of, StartAt::Latest).await?;
    while next < end {
        let chunk = door.read(of, next, 4 << 20).await?;
        if chunk.next_offset <= next {
            break;
        }
        next = chunk.next_offset;
        chunk.records.into_iter().for_each(&mut each);
    }
    Ok(())
}

/// The parts of a client's session, as read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    base: Option<Base>,
    checkpoint: Option<Checkpoint>,
    inbound: HashMap<u16, u64>,
    slots: HashMap<u16, Slot>,
    group: Option<Checkpoint>,
}

impl Loaded {
    /// Whether there is a session.
    pub(crate) fn has_session(&self) -> bool {
        self.base.is_some()
    }

    /// Whether the session has a subscription under this filter.
    pub(crate) fn subscribes(&self, filter: &[u8]) -> bool {
        self.base.as_ref().is_some_and(|base| base.subscriptions.iter().any(|s| *s.filter == *filter))
    }

    /// The cursors, if this is a share group's.
    pub(crate) fn group_cursors(&self, hub: &Hub) -> Option<Vec<(Arc<Partition>, i64)>> {
        let cursors = &self.group.as_ref()?.cursors;
        Some(cursors.iter().filter_map(|(place, next)| Some((partition_at(hub, place)?, *next))).collect())
    }

    /// Whether there is nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.base.is_none()
            && self.checkpoint.is_none()
            && self.group.is_none()
            && self.inbound.is_empty()
            && self.slots.is_empty()
    }

    /// Takes over a record; `None` when it cannot be understood.
    pub(crate) fn apply(&mut self, key: Key, value: Option<&Bytes>) -> Option<()> {
        match (key, value) {
            // Of nodes that shared the log.
            (Key::Claim(_), _) => {}
            (Key::Base, None) => self.base = None,
            (Key::Base, Some(v)) => self.base = Some(Base::decode(v)?),
            (Key::Checkpoint, None) => self.checkpoint = None,
            (Key::Checkpoint, Some(v)) => self.checkpoint = Some(Checkpoint::decode(v)?),
            (Key::Group, None) => self.group = None,
            (Key::Group, Some(v)) => self.group = Some(Checkpoint::decode(v)?),
            (Key::Inbound(n), None) => {
                self.inbound.remove(&n);
            }
            (Key::Inbound(n), Some(v)) => {
                self.inbound.insert(n, record::decode_generation(v)?);
            }
            (Key::Slot(n), None) => {
                self.slots.remove(&n);
            }
            (Key::Slot(n), Some(v)) => {
                self.slots.insert(n, Slot::decode(v)?);
            }
        }
        Some(())
    }
}

/// Reads all sessions.
///
/// # Errors
/// [`MqttError::Corrupt`] when a record of ours cannot be understood: better no service than a session that
/// silently lost something.
#[allow(clippy::vec_box)]
pub(crate) async fn load(
    hub: &Arc<Hub>,
    partitions: i32,
    limits: QueueLimits,
) -> Result<Vec<Box<Session>>, MqttError> {
    let mut all: HashMap<Bytes, Loaded> = HashMap::new();
    for n in 0..partitions {
        let of = TopicPartition::new(SESSIONS, n);
        let mut corrupt = None;
        read_all(&*hub.door, &of, |r| {
            let parsed = r.key.as_ref().and_then(Key::parse).and_then(|(client_id, key)| {
                // Keys and values are slices of what was read in one go: keep copies, not that.
                let client_id = Bytes::copy_from_slice(&client_id);
                let value = r.value.as_ref().map(|v| Bytes::copy_from_slice(v));
                all.entry(client_id).or_default().apply(key, value.as_ref())
            });
            if parsed.is_none() {
                corrupt.get_or_insert(format!("partition {n}, offset {}", r.offset));
            }
        })
        .await?;
        if let Some(what) = corrupt {
            return Err(MqttError::Corrupt { topic: SESSIONS, what });
        }
    }
    let mut groups = Vec::new();
    for (name, loaded) in &mut all {
        groups.extend(loaded.group.take().map(|checkpoint| (name.clone(), checkpoint)));
    }
    let sessions = all.into_iter().filter_map(|(id, loaded)| restore(hub, limits, id, loaded)).collect();
    for (name, checkpoint) in groups {
        let group = std::str::from_utf8(&name).ok().and_then(|name| hub.share(name));
        // A group without members is over.
        let Some(group) = group else { continue };
        for (place, next) in &checkpoint.cursors {
            if let Some(partition) = partition_at(hub, place) {
                group.consumer.restore_cursor(partition, *next);
            }
        }
    }
    Ok(sessions)
}

fn partition_at(hub: &Hub, place: &Place) -> Option<Arc<Partition>> {
    let topic = std::str::from_utf8(&place.topic).ok()?;
    Some(hub.partitions.get(&TopicPartition::new(topic, place.partition)))
}

/// Makes a session of its parts.
pub(crate) fn restore(
    hub: &Arc<Hub>,
    limits: QueueLimits,
    client_id: Bytes,
    loaded: Loaded,
) -> Option<Box<Session>> {
    let base = loaded.base?;
    let generation = base.generation;
    let consumer = Consumer::new(client_id.clone(), limits);
    let partition = |place: &Place| partition_at(hub, place);
    for s in base.subscriptions {
        let Ok(filter) = std::str::from_utf8(&s.filter) else { continue };
        let starts = s.starts.iter().filter_map(|(p, start)| Some((partition(p)?.id, *start))).collect();
        let shared = mqtt_codec::topic::SharedFilter::parse(filter);
        let replay = Replay::parse(filter).filter(|_| s.replays);
        let plain = shared.map(|s| s.filter).or(replay.map(|r| r.filter)).unwrap_or(filter);
        let subscription = Subscription {
            filter: plain.into(),
            qos: s.qos,
            no_local: s.no_local,
            retain_as_published: s.retain_as_published,
            retain_handling: s.retain_handling,
            id: s.id,
            shared: filter.starts_with("$share/") || s.replays,
            replays: s.replays,
            starts,
        };
        hub.restore(&consumer, filter, Arc::new(subscription));
    }
    let mut session = Session::new(client_id, generation, consumer.clone());
    session.stored = true;
    session.expiry_s = base.expiry_s;
    session.disconnected_ms = base.disconnected_ms;
    session.will = base.will;
    session.slots_written.extend(loaded.slots.keys());
    for (n, of) in loaded.inbound {
        if let Some(id) = PacketId::new(n).filter(|_| of == generation) {
            session.inbound.restore(id);
        }
    }
    let checkpoint = loaded.checkpoint.filter(|c| c.generation == generation);
    let mut floors: Vec<(Place, i64)> = Vec::new();
    let mut under_way: Vec<Entry> = Vec::new();
    let entry = |f: &InFlight, state, slot| {
        let at = Position { partition: partition(&f.place)?.id, offset: f.offset };
        Some(Entry {
            id: PacketId::new(f.id)?,
            origin: Origin {
                message: None,
                position: Some(at),
                qos: f.qos,
                retain: f.retain,
                subscription_ids: f.subscription_ids.clone(),
                from_retained: f.from_retained,
                share: None,
            },
            state,
            slot,
        })
    };
    let mut next_id = 1;
    if let Some(c) = checkpoint {
        next_id = c.next_id;
        for (place, next) in &c.cursors {
            if let Some(p) = partition(place) {
                consumer.restore_cursor(p, *next);
            }
        }
        floors.extend(c.qos2_floors);
        under_way.extend(c.in_flight.iter().filter_map(|f| entry(f, State::Published, None)));
    }
    for (n, slot) in loaded.slots {
        if slot.generation != generation {
            continue;
        }
        if !slot.in_flight.from_retained {
            floors.push((slot.in_flight.place.clone(), slot.in_flight.offset + 1));
        }
        floors.extend(slot.qos2_floors);
        let state = match slot.state {
            SlotState::Publish => State::Published,
            SlotState::Release => State::Released,
            SlotState::Free => continue,
        };
        next_id = next_id.max(slot.in_flight.id.wrapping_add(1).max(1));
        // A slot is newer than a checkpoint that has its identifier.
        under_way.retain(|e| e.id.get() != slot.in_flight.id);
        under_way.extend(entry(&slot.in_flight, state, Some(n)));
    }
    under_way.sort_by_key(|e| e.origin.position);
    under_way.into_iter().for_each(|e| session.outbound.restore(e));
    session.outbound.restore_next_id(PacketId::new(next_id).unwrap_or(PacketId::MIN));
    for (place, floor) in floors {
        if let Some(p) = partition(&place) {
            consumer.restore_qos2(&p, floor);
        }
    }
    Some(session)
}

/// Reads the messages of deliveries that were under way when the server stopped.
///
/// # Errors
/// When the log cannot be read; a message that retention removed is no error, its delivery is given up.
pub(crate) async fn read_messages(hub: &Arc<Hub>, session: &mut Session) -> Result<(), DoorError> {
    let mut found: HashMap<Position, Arc<Message>> = HashMap::new();
    let mut missing = session.outbound.missing_messages();
    missing.sort_unstable();
    for at in missing {
        let Some(partition) = hub.partitions.by_id(at.partition) else { continue };
        let chunk = match hub.door.read(&partition.name, at.offset, 1).await {
            Ok(chunk) => chunk,
            Err(DoorError::UnknownTopic(_)) => continue,
            Err(e) => return Err(e),
        };
        let Some(record) = chunk.records.into_iter().find(|r| r.offset == at.offset) else {
            tracing::warn!(partition = %partition.name, offset = at.offset,
                "a message under way when the server stopped is not in the log any more");
            continue;
        };
        let message = if *partition.name.topic == *RETAINED {
            crate::mapping::retained_message_of(record, at)
        } else {
            Some(crate::mapping::message_of(record, &partition.name.topic, &hub.routes, at))
        };
        if let Some(m) = message {
            found.insert(at, Arc::new(m));
        }
    }
    session.outbound.restore_messages(|at| found.get(at).cloned());
    Ok(())
}
