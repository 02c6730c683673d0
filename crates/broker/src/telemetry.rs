//! What clients tell about themselves (KIP-714): which of them is asked for which metrics, and when it may come again.
//! What they push becomes records of [`TOPIC`].

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use client::door::{DoorError, Header, Record, TopicPartition};
use kafka_codec::records::{Compression, decompress};
use kafka_codec::{ErrorCode, Uuid};
use meta::client_metrics::{ALL_METRICS, INTERVAL_MS_DEFAULT, Subscription, Trait, subscriptions};
use meta::controller::{CLIENT_TELEMETRY_TOPIC as TOPIC, NewTopic};
use meta::{ConfigResourceKind, Image};
use parking_lot::Mutex;

use crate::context::Context;
use crate::node::Node;

/// Most clients that are remembered; those not heard of for longest go first.
const INSTANCES_MAX: usize = 16_384;
/// Shortest time after which a silent client is forgotten.
const EXPIRY_MS_MIN: i64 = 60_000;
/// Pause between two looks for silent clients.
const SWEEP_MS: i64 = 10_000;
/// Room for key, headers and framing of a record beside the metrics.
const RECORD_ROOM: i64 = 16 << 10;

/// Who a client is, for the patterns of subscriptions.
#[derive(Clone, Debug, Default)]
struct Traits {
    client_id: Option<Arc<str>>,
    software: Option<(String, String)>,
    address: String,
    port: u16,
}

impl Traits {
    fn of(ctx: &Context) -> Self {
        let peer = ctx.connection.peer;
        Self {
            client_id: ctx.client_id.clone(),
            software: ctx.connection.software.get().cloned(),
            address: peer.ip().to_canonical().to_string(),
            port: peer.port(),
        }
    }

    fn get(&self, what: Trait, id: Uuid) -> Option<String> {
        let software = self.software.as_ref();
        match what {
            Trait::InstanceId => Some(id.to_string()),
            Trait::Id => self.client_id.as_deref().map(str::to_owned),
            Trait::SoftwareName => software.map(|(name, _)| name.clone()),
            Trait::SoftwareVersion => software.map(|(_, version)| version.clone()),
            Trait::SourceAddress => Some(self.address.clone()),
            Trait::SourcePort => Some(self.port.to_string()),
        }
    }
}

/// What one client is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Changes with everything else.
    pub(crate) subscription_id: i32,
    /// Prefixes of names of metrics; empty = none, `*` = all.
    pub(crate) metrics: Vec<String>,
    /// Pause between two pushes.
    pub(crate) interval_ms: i32,
}

impl Asked {
    fn new(id: Uuid, traits: &Traits, subscriptions: &[Subscription]) -> Self {
        let mut metrics = BTreeSet::new();
        let mut interval_ms = INTERVAL_MS_DEFAULT;
        for subscription in subscriptions {
            if subscription.matches(|what| traits.get(what, id)) {
                metrics.extend(subscription.metrics.iter().cloned());
                interval_ms = interval_ms.min(subscription.interval_ms);
            }
        }
        if metrics.contains(ALL_METRICS) {
            metrics = BTreeSet::from([ALL_METRICS.to_owned()]);
        }
        let metrics: Vec<String> = metrics.into_iter().collect();
        let text = format!("[{}]{interval_ms}", metrics.join(", "));
        let words = id.0.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(i32::from_be_bytes);
        let subscription_id =
            words.fold(crc32c::crc32c(text.as_bytes()).cast_signed(), |hash, word| hash ^ word);
        Self { subscription_id, metrics, interval_ms }
    }
}

/// One client.
#[derive(Debug)]
struct Instance {
    traits: Traits,
    asked: Asked,
    /// State of the subscriptions that `asked` was worked out from.
    version: u64,
    last_get_ms: i64,
    last_push_ms: i64,
    terminating: bool,
    last_error: ErrorCode,
    expires_at_ms: i64,
    used: u64,
}

impl Instance {
    fn new(id: Uuid, traits: Traits, subscriptions: &[Subscription], version: u64) -> Self {
        let asked = Asked::new(id, &traits, subscriptions);
        Self {
            traits,
            asked,
            version,
            last_get_ms: 0,
            last_push_ms: 0,
            terminating: false,
            last_error: ErrorCode::None,
            expires_at_ms: 0,
            used: 0,
        }
    }

    /// Whether the client may ask again what is wanted of it.
    fn may_get(&mut self, now_ms: i64) -> bool {
        let elapsed = now_ms - self.last_get_ms.max(self.last_push_ms);
        let granted = elapsed >= i64::from(self.asked.interval_ms);
        if granted {
            self.last_get_ms = now_ms;
        }
        granted
    }

    /// Whether the client may push. The first push after a question may come at any time: clients spread them.
    fn may_push(&mut self, now_ms: i64) -> bool {
        let granted = self.last_get_ms > self.last_push_ms
            || now_ms - self.last_push_ms >= i64::from(self.asked.interval_ms);
        if granted {
            self.last_push_ms = now_ms;
        }
        granted
    }
}

type Source = (String, Arc<BTreeMap<String, String>>);

/// The subscriptions as last read from the cluster state.
#[derive(Debug, Default)]
struct Known {
    sources: Vec<Source>,
    subscriptions: Vec<Subscription>,
    version: u64,
}

impl Known {
    fn refresh(&mut self, image: &Image) {
        let kind = ConfigResourceKind::ClientMetrics;
        let sources: Vec<Source> =
            image.configured(kind).map(|name| (name.to_owned(), image.configs(kind, name))).collect();
        let same = |(a, b): (&Source, &Source)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1);
        if sources.len() != self.sources.len() || !sources.iter().zip(&self.sources).all(same) {
            self.subscriptions = subscriptions(image);
            self.sources = sources;
            self.version += 1;
        }
    }
}

#[derive(Debug, Default)]
struct Clients {
    known: Known,
    instances: HashMap<Uuid, Instance>,
    uses: u64,
    swept_ms: i64,
}

impl Clients {
    /// The client of an id; tells whether it was not known before.
    fn instance(
        &mut self,
        id: Uuid,
        image: &Image,
        traits: impl FnOnce() -> Traits,
        now_ms: i64,
    ) -> (&mut Instance, bool) {
        self.known.refresh(image);
        self.uses += 1;
        if now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.instances.retain(|_, instance| instance.expires_at_ms > now_ms);
        }
        let version = self.known.version;
        let fresh = self.instances.get(&id).is_none_or(|instance| instance.expires_at_ms <= now_ms);
        if fresh {
            self.instances.remove(&id);
            self.make_room();
        }
        let subscriptions = &self.known.subscriptions;
        let instance = match self.instances.entry(id) {
            Entry::Occupied(mut known) => {
                if known.get().version != version {
                    let traits = std::mem::take(&mut known.get_mut().traits);
                    known.insert(Instance::new(id, traits, subscriptions, version));
                }
                known.into_mut()
            }
            Entry::Vacant(place) => place.insert(Instance::new(id, traits(), subscriptions, version)),
        };
        instance.used = self.uses;
        instance.expires_at_ms = now_ms + EXPIRY_MS_MIN.max(3 * i64::from(instance.asked.interval_ms));
        (instance, fresh)
    }

    fn make_room(&mut self) {
        if self.instances.len() < INSTANCES_MAX {
            return;
        }
        let oldest = self.instances.iter().min_by_key(|(_, instance)| instance.used).map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.instances.remove(&oldest);
        }
    }
}

/// A push of metrics.
pub(crate) struct Push<'a> {
    pub(crate) id: Uuid,
    pub(crate) subscription_id: i32,
    pub(crate) terminating: bool,
    pub(crate) compression: i8,
    pub(crate) metrics: &'a [u8],
}

/// All clients that tell metrics, or could.
pub(crate) struct Telemetry {
    /// Largest push taken.
    pub(crate) bytes_max: i32,
    clients: Mutex<Clients>,
}

impl Telemetry {
    pub(crate) fn new(properties: &meta::config::BrokerProperties) -> Self {
        Self { bytes_max: properties.int("telemetry.max.bytes"), clients: Mutex::default() }
    }

    /// What the client is asked for; a client without an id is given one.
    ///
    /// # Errors
    /// It came too early.
    pub(crate) fn ask(&self, ctx: &Context, id: Uuid, now_ms: i64) -> Result<(Uuid, Asked), ErrorCode> {
        let id = if id.is_zero() { crate::node::random_uuid() } else { id };
        let mut clients = self.clients.lock();
        let state = ctx.node.state();
        let (instance, fresh) = clients.instance(id, &state.image, || Traits::of(ctx), now_ms);
        if fresh {
            let _ = ctx.connection.telemetry.set(id);
        }
        let excused = matches!(
            instance.last_error,
            ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType
        );
        if !instance.may_get(now_ms) && !excused {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        instance.last_error = ErrorCode::None;
        Ok((id, instance.asked.clone()))
    }

    /// Checks a push; answers the codec of its metrics.
    ///
    /// # Errors
    /// The code the client is told.
    pub(crate) fn check(
        &self,
        ctx: &Context,
        push: &Push<'_>,
        now_ms: i64,
    ) -> Result<Compression, ErrorCode> {
        if push.id.is_zero() || push.id == Uuid::METADATA_TOPIC {
            return Err(ErrorCode::InvalidRequest);
        }
        let mut clients = self.clients.lock();
        let state = ctx.node.state();
        let (instance, fresh) = clients.instance(push.id, &state.image, || Traits::of(ctx), now_ms);
        if fresh {
            let _ = ctx.connection.telemetry.set(push.id);
        }
        let codec = u8::try_from(push.compression).ok().and_then(|id| Compression::from_id(id).ok());
        let checked = if instance.terminating {
            Err(ErrorCode::InvalidRequest)
        } else if !instance.may_push(now_ms) && !push.terminating {
            Err(ErrorCode::ThrottlingQuotaExceeded)
        } else if push.subscription_id != instance.asked.subscription_id {
            Err(ErrorCode::UnknownSubscriptionId)
        } else if usize::try_from(self.bytes_max).is_ok_and(|max| push.metrics.len() > max) && codec.is_some()
        {
            Err(ErrorCode::TelemetryTooLarge)
        } else {
            codec.ok_or(ErrorCode::UnsupportedCompressionType)
        };
        instance.last_error = checked.err().unwrap_or(ErrorCode::None);
        instance.terminating = push.terminating;
        checked
    }

    /// Keeps what a checked push holds.
    ///
    /// # Errors
    /// The code the client is told.
    pub(crate) async fn keep(
        &self,
        ctx: &Context,
        push: &Push<'_>,
        codec: Compression,
    ) -> Result<(), ErrorCode> {
        let kept = match self.record(ctx, push, codec) {
            Ok(record) => append(&ctx.node, record, self.bytes_max).await,
            Err(reason) => Err(DoorError::Invalid(reason)),
        };
        kept.map_err(|error| {
            tracing::warn!(client = %push.id, %error, "cannot keep a client's metrics");
            match error {
                DoorError::Invalid(_) | DoorError::TooLarge { .. } => {
                    if let Some(instance) = self.clients.lock().instances.get_mut(&push.id) {
                        instance.last_error = ErrorCode::InvalidRecord;
                    }
                    ErrorCode::InvalidRecord
                }
                _ => ErrorCode::KafkaStorageError,
            }
        })
    }

    fn record(&self, ctx: &Context, push: &Push<'_>, codec: Compression) -> Result<Record, String> {
        let mut metrics = Vec::new();
        let bytes_max = usize::try_from(self.bytes_max).unwrap_or(0);
        decompress(codec, push.metrics, bytes_max, &mut metrics).map_err(|error| error.to_string())?;
        let traits = Traits::of(ctx);
        let mut headers = vec![header("principal", ctx.principal.to_string())];
        for (name, what) in [
            ("client_id", Trait::Id),
            ("client_software_name", Trait::SoftwareName),
            ("client_software_version", Trait::SoftwareVersion),
            ("client_source_address", Trait::SourceAddress),
            ("client_source_port", Trait::SourcePort),
        ] {
            headers.extend(traits.get(what, push.id).map(|value| header(name, value)));
        }
        headers.push(header("terminating", push.terminating.to_string()));
        Ok(Record {
            key: Some(push.id.to_string().into()),
            value: Some(metrics.into()),
            headers,
            timestamp_ms: None,
        })
    }

    /// The client has gone.
    pub(crate) fn forget(&self, id: Uuid) {
        self.clients.lock().instances.remove(&id);
    }
}

fn header(name: &'static str, value: String) -> Header {
    Header { key: Bytes::from_static(name.as_bytes()), value: Some(value.into()) }
}

async fn append(node: &Arc<Node>, record: Record, bytes_max: i32) -> Result<(), DoorError> {
    let message_bytes = (i64::from(bytes_max) + RECORD_ROOM).min(i64::from(i32::MAX));
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions: 1,
        replication_factor: -1,
        configs: vec![("max.message.bytes".to_owned(), Some(message_bytes.to_string()))],
        ..NewTopic::default()
    };
    node.create_topic(topic).await.map_err(|error| crate::local::of_meta(&error))?;
    crate::local::append_atomic(node, vec![(TopicPartition::new(TOPIC, 0), record)]).await?;
    Ok(())
}
