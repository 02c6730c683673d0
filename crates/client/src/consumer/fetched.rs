//! Fetched batches of one partition, decoded one batch at a time as the application takes records.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::fetch::AbortedTransaction;
use kafka_codec::records::{
    Batch, ControlRecordType, DecodedBatch, RecordError, TimestampType as BatchTimestampType,
};

use crate::admin::IsolationLevel;
use crate::door::{Header, TopicPartition};
use crate::error::{Error, Result};
use crate::record::{ConsumerRecord, TimestampType};

/// Most bytes that one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 512 << 20;

/// What one fetch brought for one partition.
#[derive(Debug)]
pub(crate) struct Fetched {
    partition: TopicPartition,
    rest: Bytes,
    /// Records of the batch that is being handed out.
    records: VecDeque<ConsumerRecord>,
    /// Offset after everything that has been handed out or skipped.
    position: i64,
    /// Leader epoch of the last batch.
    leader_epoch: Option<i32>,
    /// Offset after the batch that is being handed out.
    batch_end: i64,
    /// Whether a whole batch has been met.
    moved: bool,
    isolation: IsolationLevel,
    check_crcs: bool,
    /// Aborted transactions that begin later, by first offset.
    aborted: VecDeque<AbortedTransaction>,
    /// Producers inside an aborted transaction here.
    aborting: HashSet<i64>,
}

impl Fetched {
    /// Records from `position` on; the first batch may begin before it.
    pub(crate) fn new(
        partition: TopicPartition,
        records: Bytes,
        position: i64,
        aborted: Vec<AbortedTransaction>,
        isolation: IsolationLevel,
        check_crcs: bool,
    ) -> Self {
        let mut aborted = aborted;
        aborted.sort_by_key(|t| t.first_offset);
        Self {
            partition,
            rest: records,
            records: VecDeque::new(),
            position,
            leader_epoch: None,
            batch_end: position,
            moved: false,
            isolation,
            check_crcs,
            aborted: aborted.into(),
            aborting: HashSet::new(),
        }
    }

    /// Where the next record will be found.
    pub(crate) fn position(&self) -> (i64, Option<i32>) {
        (self.position, self.leader_epoch)
    }

    /// The next record; `None` when all are handed out.
    ///
    /// # Errors
    /// [`Error::CorruptRecord`]; the position stays before the batch then.
    pub(crate) fn next(&mut self) -> Result<Option<ConsumerRecord>> {
        loop {
            if let Some(record) = self.records.pop_front() {
                self.position = match self.records.is_empty() {
                    // Compaction may have taken what stood between here and the batch's end.
                    true => self.batch_end,
                    false => record.offset + 1,
                };
                self.leader_epoch = record.leader_epoch;
                return Ok(Some(record));
            }
            if !self.next_batch()? {
                return Ok(None);
            }
        }
    }

    /// Decodes the next batch; `false` when there is none, or only a part of one.
    fn next_batch(&mut self) -> Result<bool> {
        let batch = match Batch::first(&self.rest) {
            Ok(batch) => batch,
            Err(_) if self.rest.is_empty() => return Ok(false),
            Err(RecordError::Truncated { .. }) if self.moved => return Ok(false),
            Err(RecordError::Truncated { .. }) => {
                return Err(Error::RecordTooLarge(format!(
                    "There are some messages at {}={} whose size is larger than the fetch size and hence cannot be \
                     returned. Please consider upgrading your broker to 0.10.1.0 or newer to avoid this issue.",
                    self.partition, self.position
                )));
            }
            Err(error) => return Err(self.corrupt(self.position, &error)),
        };
        let (header, size) = (batch.header, batch.bytes.len());
        if header.next_offset() > self.position {
            if self.check_crcs {
                batch.check_crc().map_err(|error| self.corrupt(header.base_offset, &error))?;
            }
            self.note_aborted(header.last_offset());
            if header.is_control() {
                self.end_transaction(&self.rest.slice(..size), header.producer_id, header.base_offset)?;
            } else if !(header.is_transactional() && self.aborting.contains(&header.producer_id)) {
                self.decode(&self.rest.slice(..size), header.base_offset)?;
            }
            self.batch_end = header.next_offset();
            if self.records.is_empty() {
                self.position = self.batch_end;
            }
        }
        self.rest = self.rest.slice(size..);
        self.moved = true;
        Ok(true)
    }

    /// Learns which transactions that begin up to `offset` were aborted.
    fn note_aborted(&mut self, offset: i64) {
        if self.isolation == IsolationLevel::ReadUncommitted {
            return;
        }
        while let Some(transaction) = self.aborted.pop_front_if(|t| t.first_offset <= offset) {
            self.aborting.insert(transaction.producer_id);
        }
    }

    /// A control batch: an abort marker ends what is skipped of its producer.
    fn end_transaction(&mut self, bytes: &Bytes, producer_id: i64, offset: i64) -> Result<()> {
        let batch =
            DecodedBatch::decode(bytes, DECOMPRESSED_BYTES_MAX).map_err(|e| self.corrupt(offset, &e))?;
        for record in batch.records() {
            let record = record.map_err(|error| self.corrupt(offset, &error))?;
            let kind = record.key.map(ControlRecordType::from_key);
            if matches!(kind, Some(Ok(ControlRecordType::Abort))) {
                self.aborting.remove(&producer_id);
            }
        }
        Ok(())
    }

    fn decode(&mut self, bytes: &Bytes, offset: i64) -> Result<()> {
        let batch =
            DecodedBatch::decode(bytes, DECOMPRESSED_BYTES_MAX).map_err(|e| self.corrupt(offset, &e))?;
        let header = *batch.header();
        let timestamp_type = match header.timestamp_type() {
            BatchTimestampType::LogAppendTime => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        };
        let leader_epoch = (header.leader_epoch >= 0).then_some(header.leader_epoch);
        let mut records = VecDeque::new();
        for record in batch.records() {
            let record = record.map_err(|error| self.corrupt(offset, &error))?;
            if record.offset < self.position {
                continue;
            }
            let share = |part: Option<&[u8]>| part.map(|part| batch.share(part));
            let header =
                |(key, value): (&[u8], Option<&[u8]>)| Header { key: batch.share(key), value: share(value) };
            records.push_back(ConsumerRecord {
                topic: Arc::clone(&self.partition.topic),
                partition: self.partition.partition,
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                timestamp_type,
                key: share(record.key),
                value: share(record.value),
                headers: record.headers.map(header).collect(),
                leader_epoch,
            });
        }
        self.records = records;
        Ok(())
    }

    fn corrupt(&self, offset: i64, reason: &dyn std::fmt::Display) -> Error {
        Error::CorruptRecord { partition: self.partition.to_string(), offset, reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use kafka_codec::records::{BatchBuilder, Compression, end_transaction_marker};

    use super::*;

    fn data(base: i64, producer: Option<i64>, values: &[&str], compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression).base_offset(base);
        if let Some(id) = producer {
            builder = builder.producer(id, 0, 0).transactional();
        }
        for value in values {
            builder.push(1, None, Some(value.as_bytes()), std::iter::empty()).unwrap();
        }
        builder.build().unwrap()
    }

    fn marker(offset: i64, producer: i64, commit: bool) -> Vec<u8> {
        let mut batch = end_transaction_marker(producer, 0, commit, 0, 1).unwrap();
        kafka_codec::records::set_base_offset(&mut batch, offset);
        batch
    }

    fn read(
        bytes: Vec<u8>,
        position: i64,
        aborted: &[(i64, i64)],
        isolation: IsolationLevel,
    ) -> (Vec<String>, i64) {
        let transaction =
            |&(producer_id, first_offset): &(i64, i64)| AbortedTransaction { producer_id, first_offset };
        let aborted = aborted.iter().map(transaction).collect();
        let partition = TopicPartition::new("t", 0);
        let mut fetched = Fetched::new(partition, bytes.into(), position, aborted, isolation, true);
        let mut got = Vec::new();
        while let Some(record) = fetched.next().unwrap() {
            got.push(format!("{}={}", record.offset, String::from_utf8_lossy(&record.value.unwrap())));
        }
        (got, fetched.position().0)
    }

    #[test]
    fn a_fetch_may_begin_inside_a_batch_and_end_inside_another() {
        let mut bytes = data(10, None, &["a", "b", "c"], Compression::Zstd);
        bytes.extend(data(13, None, &["d"], Compression::None));
        let whole = bytes.len();
        bytes.extend(data(14, None, &["e"], Compression::None));
        bytes.truncate(whole + 30);
        let (got, position) = read(bytes, 11, &[], IsolationLevel::ReadUncommitted);
        assert_eq!(got, ["11=b", "12=c", "13=d"]);
        assert_eq!(position, 14);
    }

    #[test]
    fn aborted_transactions_are_left_out_when_only_committed_ones_are_wanted() {
        let mut bytes = data(0, Some(7), &["a0", "a1"], Compression::None);
        bytes.extend(data(2, Some(8), &["c2"], Compression::Lz4));
        bytes.extend(data(3, None, &["p3"], Compression::None));
        bytes.extend(marker(4, 7, false));
        bytes.extend(data(5, Some(7), &["c5"], Compression::None));
        bytes.extend(marker(6, 8, true));
        bytes.extend(marker(7, 7, true));
        let (got, position) = read(bytes.clone(), 0, &[(7, 0)], IsolationLevel::ReadCommitted);
        assert_eq!(got, ["2=c2", "3=p3", "5=c5"]);
        assert_eq!(position, 8, "control records move the position too");
        let (got, _) = read(bytes, 0, &[], IsolationLevel::ReadUncommitted);
        assert_eq!(got, ["0=a0", "1=a1", "2=c2", "3=p3", "5=c5"]);
    }

    #[test]
    fn compaction_gaps_are_passed() {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(5);
        builder.push_at(2, 1, None, Some(b"x"), std::iter::empty()).unwrap();
        builder.set_last_offset_delta(9);
        let mut bytes = builder.build().unwrap();
        bytes.extend(data(20, None, &["y"], Compression::None));
        let (got, position) = read(bytes, 5, &[], IsolationLevel::ReadUncommitted);
        assert_eq!((got, position), (vec!["7=x".to_owned(), "20=y".to_owned()], 21));
    }

    #[test]
    fn a_corrupt_batch_is_told_and_stays() {
        let good = data(0, None, &["a"], Compression::None);
        let mut bytes = good.clone();
        bytes.extend(data(1, None, &["b"], Compression::None));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let partition = TopicPartition::new("t", 3);
        let isolation = IsolationLevel::ReadUncommitted;
        let mut fetched = Fetched::new(partition, bytes.into(), 0, Vec::new(), isolation, true);
        assert_eq!(fetched.next().unwrap().unwrap().offset, 0);
        for _ in 0..2 {
            let error = fetched.next().unwrap_err();
            assert!(
                matches!(&error, Error::CorruptRecord { partition, offset: 1, .. } if partition == "t-3"),
                "{error}"
            );
        }
        assert_eq!(fetched.position().0, 1);
    }
}
