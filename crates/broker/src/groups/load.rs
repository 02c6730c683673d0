//! Reading a partition of `__consumer_offsets` back into its state machine.

use coordinator::{GroupCoordinatorConfig, GroupShard};
use kafka_codec::records::{self, Batches, ControlRecordType};
use log::{Log, LogError, ReadLimit, ReadRequest};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Most that one batch may decompress to. This broker writes its own batches uncompressed; others' files may not be.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Replays the whole log.
///
/// # Errors
/// [`LogError`] when it cannot be read to its end. A record that makes no sense is passed over with a warning:
/// one group must not hide all others.
pub(super) fn load(log: &Log, config: GroupCoordinatorConfig) -> Result<GroupShard, LogError> {
    let mut shard = GroupShard::new(config);
    let mut offset = log.log_start();
    let end = log.durable_end();
    let mut scratch = Vec::new();
    while offset < end {
        let request =
            ReadRequest { offset, max_bytes: READ_BYTES, at_least_one: true, limit: ReadLimit::DurableEnd };
        let (_, bytes) = log.read_bytes(&request)?;
        let before = offset;
        for batch in Batches::new(&bytes) {
            let invalid = |error: &dyn std::fmt::Display| LogError::InvalidBatch {
                partition: log.partition().clone(),
                reason: error.to_string(),
            };
            let batch = batch.map_err(|error| invalid(&error))?;
            offset = batch.header.next_offset();
            let producer_id = batch.header.producer_id;
            let transactional = batch.header.is_transactional();
            let control = batch.header.is_control();
            let records =
                records::records(&batch, BATCH_BYTES_MAX, &mut scratch).map_err(|error| invalid(&error))?;
            for record in records {
                let record = record.map_err(|error| invalid(&error))?;
                let Some(key) = record.key else { continue };
                if control {
                    match ControlRecordType::from_key(key) {
                        Ok(ControlRecordType::Commit) => shard.transaction_ended(producer_id, true),
                        Ok(ControlRecordType::Abort) => shard.transaction_ended(producer_id, false),
                        _ => {}
                    }
                    continue;
                }
                let replayed = if transactional {
                    shard.replay_in_transaction(producer_id, record.offset, key, record.value)
                } else {
                    shard.replay(record.offset, key, record.value)
                };
                if let Err(error) = replayed {
                    tracing::warn!(
                        partition = %log.partition(), offset = record.offset, %error,
                        "group record passed over"
                    );
                }
            }
        }
        if offset == before {
            let reason = format!("nothing can be read at offset {offset}, before the end at {end}");
            return Err(LogError::InvalidBatch { partition: log.partition().clone(), reason });
        }
    }
    Ok(shard)
}
