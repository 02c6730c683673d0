//! Reading a partition of `__consumer_offsets` back into its state machine.

use coordinator::{GroupCoordinatorConfig, GroupShard};
use kafka_codec::records::ControlRecordType;
use log::{Log, LogError};

use crate::state_topic;

/// Replays the whole log.
///
/// # Errors
/// [`LogError`] when it cannot be read to its end.
pub(super) fn load(log: &Log, config: GroupCoordinatorConfig) -> Result<GroupShard, LogError> {
    let mut shard = GroupShard::new(config);
    state_topic::replay(log, |batch, record, key| {
        let producer_id = batch.producer_id;
        if batch.is_control() {
            match ControlRecordType::from_key(key) {
                Ok(ControlRecordType::Commit) => shard.transaction_ended(producer_id, true),
                Ok(ControlRecordType::Abort) => shard.transaction_ended(producer_id, false),
                _ => {}
            }
            return Ok(());
        }
        if batch.is_transactional() {
            shard.replay_in_transaction(producer_id, record.offset, key, record.value)
        } else {
            shard.replay(record.offset, key, record.value)
        }
    })?;
    Ok(shard)
}
