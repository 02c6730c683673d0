//! The fetch path: from an offset to a range of whole batches in a file.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::{Log, Mark};
use crate::segment::Segment;
use crate::{AbortedTxn, LogError, ReadLimit, ReadRequest, ReadSlice, TimestampOffset};

/// So many aborted transactions are told without a look at where the reader's slice ends.
const ABORTED_WHOLE: usize = 16;

/// How far one reader sees: an offset, and where it stands if that is known.
struct Horizon {
    offset: i64,
    /// End of what may be read at all.
    durable: Mark,
}

impl Log {
    fn horizon(&self, limit: ReadLimit) -> Horizon {
        let wanted = match limit {
            ReadLimit::HighWatermark => self.high_watermark(),
            ReadLimit::LastStable => self.last_stable_offset(),
            ReadLimit::DurableEnd => i64::MAX,
            ReadLimit::Offset(offset) => offset,
        };
        let durable = self.durable.lock().end;
        Horizon { offset: wanted.min(durable.offset), durable }
    }

    /// Where a reader at `offset` continues, if the log remembers.
    fn recent_mark(&self, offset: i64) -> Option<Mark> {
        self.durable.lock().recent.iter().rev().find(|m| m.offset == offset).copied()
    }

    fn out_of_range(&self, offset: i64, end: i64) -> LogError {
        LogError::OffsetOutOfRange { partition: self.partition.clone(), offset, start: self.log_start(), end }
    }

    fn corrupt(&self, segment: &Segment, position: u64, reason: &str) -> LogError {
        LogError::Corrupt {
            partition: self.partition.clone(),
            file: segment.log_name(),
            position,
            reason: reason.to_owned(),
        }
    }

    fn read_error(&self, offset: i64, error: io::Error) -> LogError {
        // The segment was deleted between looking it up and opening it.
        if error.kind() == io::ErrorKind::NotFound && offset < self.log_start() {
            return self.out_of_range(offset, self.log_end());
        }
        LogError::io(format!("reading {}", self.partition), error)
    }

    /// Finds whole batches to read: a range of one segment's file, empty when there is nothing (yet). Never blocks
    /// an appender, and is never blocked by its writing.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] below the log's start or above its end; [`LogError::Corrupt`] when no batch
    /// stands where one must; [`LogError::Io`].
    pub fn read(&self, request: &ReadRequest) -> Result<ReadSlice, LogError> {
        let ReadRequest { offset, max_bytes, at_least_one, limit } = *request;
        let horizon = self.horizon(limit);
        if offset < self.log_start() || offset > self.log_end() {
            return Err(self.out_of_range(offset, horizon.offset));
        }
        let list = self.segment_list();
        let mut i = list.partition_point(|s| s.base_offset <= offset).saturating_sub(1);
        while let Some(segment) = list.get(i).filter(|_| offset < horizon.offset) {
            if segment.base_offset >= horizon.offset {
                break;
            }
            let found = self
                .find_slice(segment, &horizon, offset, max_bytes, at_least_one)
                .map_err(|e| self.read_error(offset, e))?;
            match found {
                Found::Slice { position, len, base_offset } => {
                    return Ok(ReadSlice {
                        file: segment.file().map_err(|e| self.read_error(offset, e))?,
                        position,
                        len,
                        base_offset,
                        log_start_offset: self.log_start(),
                        end_offset: horizon.offset,
                    });
                }
                Found::Damage { position } => {
                    return Err(self.corrupt(segment, position, "no batch where one must be"));
                }
                // Compaction took the last batches of this segment.
                Found::Nothing => i += 1,
            }
        }
        self.empty_slice(&list, offset, horizon.offset)
    }

    fn empty_slice(&self, list: &[Arc<Segment>], offset: i64, end: i64) -> Result<ReadSlice, LogError> {
        let Some(last) = list.last() else { return Err(LogError::Closed(self.partition.clone())) };
        Ok(ReadSlice {
            file: last.file().map_err(|e| self.read_error(offset, e))?,
            position: 0,
            len: 0,
            base_offset: offset,
            log_start_offset: self.log_start(),
            end_offset: end,
        })
    }

    fn find_slice(
        &self,
        segment: &Segment,
        horizon: &Horizon,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> io::Result<Found> {
        // Positions that the log remembers are not those of a segment that may have been compacted since.
        let sealed = segment.is_sealed();
        let in_durable_segment = !sealed && segment.base_offset == horizon.durable.segment_base;
        let mut end = if in_durable_segment { horizon.durable.position } else { segment.size() };
        if horizon.offset < horizon.durable.offset && horizon.offset < segment.end_offset() {
            // The reader's view ends inside this segment: at the batch that holds the limit.
            if let Ok((position, _)) = segment.locate(horizon.offset, end)? {
                end = position;
            }
        }
        let hint = if sealed { None } else { self.recent_mark(offset) };
        let hint = hint.filter(|m| m.segment_base == segment.base_offset);
        let (start, base_offset, first_len) = match hint {
            Some(mark) if mark.position < end => (mark.position, offset, None),
            _ => match segment.locate(offset, end)? {
                Ok((position, head)) => (position, head.base_offset, Some(head.size as u64)),
                Err(position) if position < end => return Ok(Found::Damage { position }),
                Err(_) => return Ok(Found::Nothing),
            },
        };
        let wanted = start.saturating_add(max_bytes as u64);
        let mut stop = segment.boundary_before(start, wanted, end)?;
        if stop <= start && at_least_one {
            let first_len = match first_len {
                Some(len) => len,
                None => segment.head_at(start)?.map_or(0, |head| head.size as u64),
            };
            stop = (start + first_len).min(end);
        }
        let len = usize::try_from(stop.saturating_sub(start)).unwrap_or(0);
        Ok(Found::Slice { position: start, len, base_offset })
    }

    /// Like [`Log::read`], with the bytes.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read_bytes(&self, request: &ReadRequest) -> Result<(ReadSlice, Bytes), LogError> {
        let slice = self.read(request)?;
        let mut bytes = vec![0u8; slice.len];
        let n =
            slice.file.read_at(slice.position, &mut bytes).map_err(|e| self.read_error(request.offset, e))?;
        bytes.truncate(n);
        Ok((slice, Bytes::from(bytes)))
    }

    fn batch_bytes(&self, segment: &Segment, position: u64, size: usize) -> Result<Vec<u8>, LogError> {
        let read = || {
            let mut bytes = vec![0u8; size];
            let n = segment.file()?.read_at(position, &mut bytes)?;
            bytes.truncate(n);
            Ok(bytes)
        };
        read().map_err(|e| self.read_error(segment.base_offset, e))
    }

    /// The first record whose timestamp is at or after `timestamp_ms`, below the reader's limit.
    ///
    /// # Errors
    /// [`LogError::Io`], or [`LogError::Corrupt`] when a batch cannot be read.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        limit: ReadLimit,
    ) -> Result<Option<TimestampOffset>, LogError> {
        let horizon = self.horizon(limit);
        let start = self.log_start();
        let fail = |e| self.read_error(start, e);
        for segment in self.segment_list().iter() {
            let max = segment.max_timestamp().map_err(fail)?;
            if segment.base_offset >= horizon.offset || max.is_none_or(|m| m.timestamp_ms < timestamp_ms) {
                continue;
            }
            let entry =
                segment.times.find(segment.storage(), |e| e.timestamp_ms < timestamp_ms).map_err(fail)?;
            let from =
                entry.map_or(segment.base_offset, |e| segment.base_offset + i64::from(e.relative_offset));
            let Ok((position, _)) = segment.locate(from.max(start), segment.size()).map_err(fail)? else {
                continue;
            };
            let mut scan = segment.scan(position, segment.size()).map_err(fail)?;
            while let Some((position, head)) = scan.next().map_err(fail)? {
                if head.base_offset >= horizon.offset {
                    return Ok(None);
                }
                if head.max_timestamp_ms < timestamp_ms || head.is_control() {
                    continue;
                }
                let batch = self.batch_bytes(segment, position, head.size)?;
                let found = crate::records::find_by_time(
                    &batch,
                    start,
                    self.shared.config.decompressed_bytes_max,
                    |t| t >= timestamp_ms,
                )
                .map_err(|e| self.corrupt(segment, position, &e.to_string()))?;
                if let Some((timestamp_ms, offset)) = found.filter(|(_, offset)| *offset < horizon.offset) {
                    return Ok(Some(TimestampOffset {
                        timestamp_ms,
                        offset,
                        leader_epoch: head.leader_epoch,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp, the first of several (`ListOffsets` -3, KIP-734).
    ///
    /// # Errors
    /// [`LogError::Io`], or [`LogError::Corrupt`] when a batch cannot be read.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, LogError> {
        let start = self.log_start();
        let durable_end = self.durable_end();
        let fail = |e| self.read_error(start, e);
        let mut best: Option<(Arc<Segment>, i64, i64)> = None;
        for segment in self.segment_list().iter() {
            let Some(max) = segment.max_timestamp().map_err(fail)? else { continue };
            if best.as_ref().is_none_or(|b| max.timestamp_ms > b.1) {
                best = Some((Arc::clone(segment), max.timestamp_ms, max.offset));
            }
        }
        let Some((segment, timestamp_ms, offset)) = best.filter(|b| b.1 >= 0) else { return Ok(None) };
        if offset >= durable_end {
            // The newest record is not durable yet; what a reader may see is searched from the front.
            return self.newest_visible(durable_end);
        }
        let found = segment.locate(offset, segment.size()).map_err(fail)?;
        let Ok((position, head)) = found else { return Ok(None) };
        let batch = self.batch_bytes(&segment, position, head.size)?;
        let found =
            crate::records::find_by_time(&batch, start, self.shared.config.decompressed_bytes_max, |t| {
                t >= timestamp_ms
            })
            .map_err(|e| self.corrupt(&segment, position, &e.to_string()))?;
        Ok(found.map(|(timestamp_ms, offset)| TimestampOffset {
            timestamp_ms,
            offset,
            leader_epoch: head.leader_epoch,
        }))
    }

    /// The largest timestamp below `end`, walking the batch heads of the last segment that has any.
    fn newest_visible(&self, end: i64) -> Result<Option<TimestampOffset>, LogError> {
        let fail = |e| self.read_error(end, e);
        let mut best: Option<(Arc<Segment>, u64, crate::batch::Head)> = None;
        for segment in self.segment_list().iter() {
            let mut scan = segment.scan(0, segment.size()).map_err(fail)?;
            while let Some((position, head)) = scan.next().map_err(fail)? {
                if head.last_offset() >= end {
                    break;
                }
                if best.as_ref().is_none_or(|b| head.max_timestamp_ms > b.2.max_timestamp_ms) {
                    best = Some((Arc::clone(segment), position, head));
                }
            }
        }
        let Some((segment, position, head)) = best else { return Ok(None) };
        let batch = self.batch_bytes(&segment, position, head.size)?;
        let max_bytes = self.shared.config.decompressed_bytes_max;
        let found =
            crate::records::find_by_time(&batch, self.log_start(), max_bytes, |t| t >= head.max_timestamp_ms)
                .map_err(|e| self.corrupt(&segment, position, &e.to_string()))?;
        Ok(found.map(|(timestamp_ms, offset)| TimestampOffset {
            timestamp_ms,
            offset,
            leader_epoch: head.leader_epoch,
        }))
    }

    /// Aborted transactions that touch what a `read_committed` reader at `from` got.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn aborted_in(&self, from: i64, slice: &ReadSlice) -> Result<Vec<AbortedTxn>, LogError> {
        let mut aborted = self.aborted_txns(from, slice.end_offset)?;
        if aborted.len() > ABORTED_WHOLE {
            // A reader far behind would get the list of all that lies before it with every answer. Behind the slice
            // stands the next batch, if the reader's view goes on there.
            let mut head = [0u8; crate::batch::HEADER_LEN];
            let read = slice.file.read_at(slice.position + slice.len as u64, &mut head);
            let n = read.map_err(|e| self.read_error(from, e))?;
            let next = crate::batch::Head::parse(head.get(..n).unwrap_or_default());
            let within = |next: &i64| (slice.base_offset + 1..slice.end_offset).contains(next);
            if let Some(next) = next.map(|head| head.base_offset).filter(within) {
                aborted.retain(|txn| txn.first_offset < next);
            }
        }
        Ok(aborted)
    }

    /// Aborted transactions that touch `from..to`, for `read_committed` readers.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn aborted_txns(&self, from: i64, to: i64) -> Result<Vec<AbortedTxn>, LogError> {
        let mut aborted = Vec::new();
        for segment in self.segment_list().iter() {
            // A marker stands after its records: earlier segments cannot hold one for them.
            if segment.end_offset() <= from {
                continue;
            }
            let (found, complete) = segment
                .txns
                .overlapping(segment.storage(), from, to)
                .map_err(|e| self.read_error(from, e))?;
            aborted.extend(found);
            if complete {
                break;
            }
        }
        Ok(aborted)
    }
}

enum Found {
    Slice {
        position: u64,
        len: usize,
        base_offset: i64,
    },
    /// The segment has nothing at or after the offset.
    Nothing,
    /// The chain of batches breaks here.
    Damage {
        position: u64,
    },
}
