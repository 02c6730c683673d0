//! Handing out producer ids from blocks that the metadata log reserves.

use meta::{MetaError, controller};
use tokio::sync::Mutex;

use crate::metadata::Metadata;

/// Ids left of the block taken last.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    left: Mutex<std::ops::Range<i64>>,
}

impl ProducerIds {
    /// An id that nobody had before, over all restarts.
    ///
    /// # Errors
    /// The metadata log failed.
    pub(crate) async fn next(&self, metadata: &Metadata, node_id: i32) -> Result<i64, MetaError> {
        let mut left = self.left.lock().await;
        if let Some(id) = left.next() {
            return Ok(id);
        }
        let first = metadata
            .change(|state| {
                let (first, records) = controller::next_producer_ids(&state.image, node_id);
                Ok((records, first))
            })
            .await?;
        *left = first..first + controller::PRODUCER_ID_BLOCK;
        left.next().ok_or_else(|| {
            MetaError::refused(kafka_codec::ErrorCode::UnknownServerError, "an empty block of producer ids")
        })
    }
}
