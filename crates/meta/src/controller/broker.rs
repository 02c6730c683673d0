//! The broker's registration, feature levels and blocks of producer ids.

use kafka_codec::Uuid;
use kafka_codec::messages::{
    FeatureLevelRecord, ProducerIdsRecord, RegisterBrokerRecord, register_broker_record,
};

use crate::MetaRecord;
use crate::image::Image;

/// Producer ids taken at a time, as in Kafka.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// `metadata.version` whose record formats are written (Kafka 4.3).
const METADATA_VERSION: i16 = 30;

/// Where clients of one listener connect to.
#[derive(Clone, Debug)]
pub struct RegisteredEndpoint {
    /// Name of the listener.
    pub listener: String,
    /// Host told to clients.
    pub host: String,
    /// Port told to clients.
    pub port: u16,
    /// Kafka's number of the security protocol.
    pub protocol: i16,
}

/// Plans the registration of this node at its start.
pub fn register_broker(
    image: &Image,
    node_id: i32,
    incarnation: Uuid,
    directory: Uuid,
    rack: Option<String>,
    endpoints: &[RegisteredEndpoint],
) -> Vec<MetaRecord> {
    let mut records = Vec::new();
    if image.features.get("metadata.version") != Some(&METADATA_VERSION) {
        records.push(
            FeatureLevelRecord {
                name: "metadata.version".into(),
                feature_level: METADATA_VERSION,
                ..FeatureLevelRecord::default()
            }
            .into(),
        );
    }
    let end_points = endpoints
        .iter()
        .map(|endpoint| register_broker_record::BrokerEndpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.protocol,
            ..register_broker_record::BrokerEndpoint::default()
        })
        .collect();
    // The epoch is the offset of the registration's own record.
    let broker_epoch = image.end_offset + i64::try_from(records.len()).unwrap_or(0);
    records.push(
        RegisterBrokerRecord {
            broker_id: node_id,
            incarnation_id: incarnation,
            broker_epoch,
            end_points,
            rack,
            fenced: false,
            log_dirs: vec![directory],
            ..RegisterBrokerRecord::default()
        }
        .into(),
    );
    records
}

/// Plans taking a block of producer ids; answers its first id too.
pub fn next_producer_ids(image: &Image, node_id: i32) -> (i64, Vec<MetaRecord>) {
    let first = image.next_producer_id;
    let record = ProducerIdsRecord {
        broker_id: node_id,
        broker_epoch: image.brokers.get(&node_id).map_or(-1, |broker| broker.epoch),
        next_producer_id: first + PRODUCER_ID_BLOCK,
        ..ProducerIdsRecord::default()
    };
    (first, vec![record.into()])
}
