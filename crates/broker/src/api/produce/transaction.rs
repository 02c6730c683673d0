//! What a transactional producer's batches need before they may be appended.

use std::sync::Arc;

use coordinator::txn::{Producer, TxnPartition};
use kafka_codec::ErrorCode;
use kafka_codec::produce::ProduceRequest;
use kafka_codec::records::BatchHeader;

use crate::context::Context;
use crate::replica::TopicReplicas;
use crate::state_topic::Written;

/// First version whose batches join their transaction on the way (KIP-890).
const JOINS_FROM: i16 = 12;
/// First version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 11;

/// The transaction a request's batches belong to.
pub(super) struct Transaction<'a> {
    id: &'a str,
    version: i16,
    /// What must be durable before any of the batches is acknowledged; or why none may be appended.
    joined: Result<Option<Written>, ErrorCode>,
}

/// The header of the first transactional batch.
fn transactional_header(request: &ProduceRequest<'_>) -> Option<BatchHeader> {
    request
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .filter_map(|partition| BatchHeader::parse(partition.records.as_ref()?).ok())
        .find(BatchHeader::is_transactional)
}

impl<'a> Transaction<'a> {
    /// Looks whether the request is part of a transaction. `Ok(None)`: it is not.
    ///
    /// # Errors
    /// Transactional batches without a transactional id.
    pub(super) fn of(
        ctx: &Context,
        request: &ProduceRequest<'a>,
        topics: &[Result<Arc<TopicReplicas>, ErrorCode>],
        version: i16,
    ) -> Result<Option<Self>, ErrorCode> {
        let Some(header) = transactional_header(request) else { return Ok(None) };
        let Some(id) = request.transactional_id else {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed);
        };
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        let joined = if version >= JOINS_FROM {
            let partitions: Vec<TxnPartition> = request
                .topics
                .iter()
                .zip(topics)
                .filter_map(|(topic, found)| Some((topic, found.as_ref().ok()?)))
                .flat_map(|(topic, found)| {
                    topic
                        .partitions
                        .iter()
                        .filter(|wanted| found.partition(wanted.index).is_some())
                        .map(|wanted| TxnPartition::new(Arc::clone(&found.name), wanted.index))
                })
                .collect();
            if partitions.is_empty() {
                Ok(None)
            } else {
                ctx.node.transactions.join(&ctx.node, id, producer, &partitions).map(Some)
            }
        } else {
            Ok(None)
        };
        Ok(Some(Self { id, version, joined: joined.map_err(|error| to_client(error, version)) }))
    }

    /// What must be durable before the batches are acknowledged.
    pub(super) fn joined(&self) -> Option<&Written> {
        self.joined.as_ref().ok()?.as_ref()
    }

    /// Appends a batch within the transaction.
    ///
    /// # Errors
    /// The code for the client; nothing was appended.
    pub(super) fn append<T>(
        &self,
        ctx: &Context,
        producer: Producer,
        partition: &TxnPartition,
        append: impl FnOnce() -> T,
    ) -> Result<T, ErrorCode> {
        if let Err(error) = &self.joined {
            return Err(*error);
        }
        ctx.node
            .transactions
            .within(self.id, producer, partition, append)
            .map_err(|error| to_client(error, self.version))
    }
}

/// The coordinator's errors as producers understand them.
fn to_client(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_FROM => ErrorCode::InvalidTxnState,
        // Producers that do not know these here try this one again.
        ErrorCode::ConcurrentTransactions if version < JOINS_FROM => ErrorCode::NotEnoughReplicas,
        ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        other => other,
    }
}
