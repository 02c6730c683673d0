//! Records of `__transaction_state` in Kafka's format.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::messages::transaction_log_value::PartitionsSchema;
use kafka_codec::messages::{TransactionLogKey, TransactionLogValue};
use kafka_codec::wire::Reader;
use kafka_codec::{EncodeError, Message};

use super::state::{NO_EPOCH, Producer, Txn, TxnPartition, TxnState};
use crate::error::CoordinatorError;
use crate::output::Record;

/// Type of the records: the first two bytes of a key.
const TRANSACTION: i16 = 0;
const KEY_VERSION: i16 = 0;
/// Flexible: what clients of transaction version 2 need travels in tagged fields.
const VALUE_VERSION: i16 = 1;

/// The record of a transactional id, or its tombstone.
pub(crate) fn txn_record(transactional_id: &str, txn: Option<&Txn>) -> Result<Record, EncodeError> {
    let mut key = TRANSACTION.to_be_bytes().to_vec();
    let id = TransactionLogKey { transactional_id: transactional_id.to_owned() };
    id.encode(&mut key, KEY_VERSION)?;
    let value = txn.map(txn_value).transpose()?;
    Ok(Record { key: key.into(), value })
}

fn txn_value(txn: &Txn) -> Result<Bytes, EncodeError> {
    let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for TxnPartition { topic, partition } in &txn.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let partitions = topics
        .into_iter()
        .map(|(topic, partition_ids)| PartitionsSchema {
            topic: topic.to_string(),
            partition_ids,
            ..PartitionsSchema::default()
        })
        .collect();
    let value = TransactionLogValue {
        producer_id: txn.producer.id,
        previous_producer_id: txn.previous_producer_id,
        next_producer_id: txn.next_producer_id,
        producer_epoch: txn.producer.epoch,
        transaction_timeout_ms: txn.timeout_ms,
        transaction_status: txn.state.id(),
        transaction_partitions: (txn.state != TxnState::Empty).then_some(partitions),
        transaction_last_update_timestamp_ms: txn.update_ms,
        transaction_start_timestamp_ms: txn.start_ms,
        client_transaction_version: txn.client_version,
        ..TransactionLogValue::default()
    };
    let mut bytes = VALUE_VERSION.to_be_bytes().to_vec();
    value.encode(&mut bytes, VALUE_VERSION)?;
    Ok(bytes.into())
}

/// Reads a record back: a transactional id and what is known of it; `None` for records of another type.
pub(crate) fn parse(
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<Option<(String, Option<Txn>)>, CoordinatorError> {
    let malformed = |what| move |source| CoordinatorError::Malformed { what, source };
    let mut reader = Reader::new(key);
    if reader.i16().map_err(malformed("record key"))? != TRANSACTION {
        return Ok(None);
    }
    let id = TransactionLogKey::decode(&mut reader, KEY_VERSION).map_err(malformed("TransactionLogKey"))?;
    let id = id.transactional_id;
    let Some(value) = value else { return Ok(Some((id, None))) };
    let mut reader = Reader::new(value);
    let version = reader.i16().map_err(malformed("TransactionLogValue"))?;
    let value =
        TransactionLogValue::decode(&mut reader, version).map_err(malformed("TransactionLogValue"))?;
    let Some(state) = TxnState::from_id(value.transaction_status) else {
        return Err(CoordinatorError::UnknownTxnState { id, status: value.transaction_status });
    };
    let mut partitions = BTreeSet::new();
    for topic in value.transaction_partitions.unwrap_or_default() {
        let name: Arc<str> = topic.topic.into();
        partitions.extend(topic.partition_ids.into_iter().map(|p| TxnPartition::new(Arc::clone(&name), p)));
    }
    let txn = Txn {
        producer: Producer { id: value.producer_id, epoch: value.producer_epoch },
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        last_epoch: NO_EPOCH,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions,
        start_ms: value.transaction_start_timestamp_ms,
        update_ms: value.transaction_last_update_timestamp_ms,
        client_version: value.client_transaction_version,
        started_mono_ms: 0,
    };
    Ok(Some((id, Some(txn))))
}
