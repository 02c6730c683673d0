//! One segment: a `.log` file of record batches with its indexes, named by its first offset.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::AbortedTxn;
use crate::batch::{HEADER_LEN, Head};
use crate::index::{OffsetEntry, SparseIndex, TimeEntry};
use crate::storage::{LogStorage, OpenMode, Storage, StorageFile};
use crate::txn_index::TxnIndex;

/// Room reserved ahead of small appends: at least this …
const RESERVE_MIN: u64 = 64 << 10;
/// … and at most this.
const RESERVE_MAX: u64 = 4 << 20;
/// Bytes read at once when batch heads are walked.
const SCAN_CHUNK: usize = 4096;

pub(crate) fn file_name(base_offset: i64, suffix: &str) -> String {
    format!("{base_offset:020}.{suffix}")
}

/// Largest timestamp, and the last offset of the first batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxTimestamp {
    pub timestamp_ms: i64,
    pub offset: i64,
}

/// What only the appender changes.
#[derive(Debug)]
struct Growth {
    bytes_since_index: u64,
    max_timestamp: Option<MaxTimestamp>,
    /// Largest timestamp of the first batch; rolls by time count from it.
    first_timestamp_ms: Option<i64>,
    last_time_entry_ms: i64,
}

/// What of the segment is on stable storage. Syncs go one at a time: of two at once over one file, one may be
/// told of a failure that concerns the other too.
#[derive(Debug)]
struct Synced {
    in_directory: bool,
}

pub(crate) struct Segment {
    pub base_offset: i64,
    pub created_ms: i64,
    dir: Arc<Path>,
    storage: Arc<LogStorage>,
    file: Mutex<Option<Arc<dyn StorageFile>>>,
    used: AtomicBool,
    pub index: SparseIndex<OffsetEntry>,
    pub times: SparseIndex<TimeEntry>,
    pub txns: TxnIndex,
    /// Bytes appended, those still on their way from the journal included.
    size: AtomicU64,
    /// Offset after the last batch.
    end_offset: AtomicI64,
    reserved: AtomicU64,
    growth: Mutex<Growth>,
    synced: Mutex<Synced>,
    /// A copy of `Synced::in_directory` that can be read at any time.
    in_directory: AtomicBool,
    /// Closed for appends, its indexes complete and everything on stable storage.
    sealed: AtomicBool,
    /// Another segment has taken its names: its files must stay open.
    pinned: AtomicBool,
}

/// Sizes of a segment's files, as a directory listing shows them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FoundFiles {
    pub log_len: u64,
    pub index_len: Option<u64>,
    pub time_len: Option<u64>,
    pub txn: bool,
}

impl Segment {
    fn new(
        storage: &Arc<LogStorage>,
        dir: &Arc<Path>,
        base_offset: i64,
        now_ms: i64,
        found: &FoundFiles,
    ) -> Self {
        let path = |suffix: &str| dir.join(file_name(base_offset, suffix));
        Self {
            base_offset,
            created_ms: now_ms,
            dir: Arc::clone(dir),
            storage: Arc::clone(storage),
            file: Mutex::new(None),
            used: AtomicBool::new(true),
            index: match found.index_len {
                Some(len) => SparseIndex::existing(path("index"), len),
                None => SparseIndex::empty(path("index")),
            },
            times: match found.time_len {
                Some(len) => SparseIndex::existing(path("timeindex"), len),
                None => SparseIndex::empty(path("timeindex")),
            },
            txns: if found.txn {
                TxnIndex::existing(path("txnindex"))
            } else {
                TxnIndex::empty(path("txnindex"))
            },
            size: AtomicU64::new(found.log_len),
            end_offset: AtomicI64::new(base_offset),
            reserved: AtomicU64::new(found.log_len),
            growth: Mutex::new(Growth {
                bytes_since_index: 0,
                max_timestamp: None,
                first_timestamp_ms: None,
                last_time_entry_ms: -1,
            }),
            synced: Mutex::new(Synced { in_directory: false }),
            in_directory: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            pinned: AtomicBool::new(false),
        }
    }

    /// Makes an empty segment. Its directory entry is not on stable storage yet.
    pub fn create(
        storage: &Arc<LogStorage>,
        dir: &Arc<Path>,
        base_offset: i64,
        now_ms: i64,
    ) -> io::Result<Self> {
        let segment = Self::new(storage, dir, base_offset, now_ms, &FoundFiles::default());
        let file = storage.open(&dir.join(file_name(base_offset, "log")), OpenMode::Truncate)?;
        *segment.file.lock() = Some(file);
        Ok(segment)
    }

    /// A segment that is being written under other names, and replaces others when it is whole.
    pub fn replacement(
        storage: &Arc<LogStorage>,
        dir: &Arc<Path>,
        base_offset: i64,
        created_ms: i64,
        file: Arc<dyn StorageFile>,
    ) -> Self {
        let segment = Self::new(storage, dir, base_offset, created_ms, &FoundFiles::default());
        *segment.file.lock() = Some(file);
        segment
    }

    /// Writes the indexes of a replacement, whole and on stable storage, as files whose names end in `suffix`.
    pub fn write_replacement_indexes(&self, suffix: &str, txns: Vec<AbortedTxn>) -> io::Result<()> {
        self.push_time_entry(&mut self.growth.lock());
        let storage = &*self.storage;
        let path = |kind: &str| self.dir.join(file_name(self.base_offset, &format!("{kind}{suffix}")));
        self.index.write_as(storage, &path("index"))?;
        self.times.write_as(storage, &path("timeindex"))?;
        self.txns.write_as(storage, &path("txnindex"), txns)
    }

    /// A replacement has its own name now: it is a sealed segment like any other.
    pub fn take_place(&self) {
        self.in_directory();
        self.reserved.store(self.size(), Ordering::Release);
        self.mark_sealed();
    }

    /// Keeps all files open, so that readers at work can go on when others get their names.
    pub fn pin(&self) -> io::Result<()> {
        {
            let _file = self.file.lock();
            self.pinned.store(true, Ordering::Release);
        }
        self.file()?;
        self.index.pin(&*self.storage)?;
        self.times.pin(&*self.storage)?;
        self.txns.pin(&*self.storage)?;
        self.max_timestamp()?;
        Ok(())
    }

    /// A segment found on disk.
    pub fn existing(
        storage: &Arc<LogStorage>,
        dir: &Arc<Path>,
        base_offset: i64,
        now_ms: i64,
        found: &FoundFiles,
    ) -> Self {
        let segment = Self::new(storage, dir, base_offset, now_ms, found);
        segment.in_directory();
        segment
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.join(file_name(self.base_offset, "log"))
    }

    pub fn log_name(&self) -> String {
        file_name(self.base_offset, "log")
    }

    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub fn end_offset(&self) -> i64 {
        self.end_offset.load(Ordering::Acquire)
    }

    pub fn set_end_offset(&self, offset: i64) {
        self.end_offset.store(offset, Ordering::Release);
    }

    /// The `.log` file, opened if it is not open.
    pub fn file(&self) -> io::Result<Arc<dyn StorageFile>> {
        self.used.store(true, Ordering::Relaxed);
        let mut slot = self.file.lock();
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let file = self.storage.open(&self.log_path(), OpenMode::Write)?;
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Closes the files when nobody used them since the last call. What was written must be on stable storage: a
    /// handle is where the system tells of a write that failed later.
    pub fn close_if_idle(&self) {
        if !self.used.swap(false, Ordering::Relaxed) {
            self.close_files();
        }
    }

    /// Closes the files until somebody needs them. What was written must be on stable storage.
    pub fn close_files(&self) {
        let mut file = self.file.lock();
        if self.pinned.load(Ordering::Acquire) {
            return;
        }
        *file = None;
        self.index.release();
        self.times.release();
    }

    /// Makes a segment take appends again, after a cut.
    pub fn reopen(&self) {
        self.sealed.store(false, Ordering::Release);
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub fn mark_sealed(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Reserves room for an append of `len` bytes, and some more, so that writing it later cannot run out of it.
    /// `at_once`: room to reserve in any case (`preallocate`).
    pub fn reserve(&self, len: u64, segment_bytes: u64, at_once: u64) -> io::Result<()> {
        let needed = (self.size() + len).max(at_once);
        let reserved = self.reserved.load(Ordering::Acquire);
        if needed <= reserved {
            return Ok(());
        }
        let ahead = self.size().clamp(RESERVE_MIN, RESERVE_MAX);
        let wanted = (needed + ahead).min(segment_bytes.max(needed));
        let file = self.file()?;
        let to = match file.reserve(reserved, wanted) {
            Ok(()) => wanted,
            // No room to be generous: take what this append needs.
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                file.reserve(reserved, needed)?;
                needed
            }
            Err(e) => return Err(e),
        };
        self.reserved.store(to, Ordering::Release);
        Ok(())
    }

    /// Takes an appended batch into indexes and counters (`LogSegment.append` in Kafka). Appender only.
    pub fn note_batch(&self, head: &Head, position: u64, index_interval_bytes: u32) {
        let mut growth = self.growth.lock();
        let last_offset = head.last_offset();
        if growth.first_timestamp_ms.is_none() {
            growth.first_timestamp_ms = Some(head.max_timestamp_ms);
        }
        if growth.max_timestamp.is_none_or(|m| head.max_timestamp_ms > m.timestamp_ms) {
            growth.max_timestamp =
                Some(MaxTimestamp { timestamp_ms: head.max_timestamp_ms, offset: last_offset });
        }
        if growth.bytes_since_index > u64::from(index_interval_bytes) {
            let relative = u32::try_from(last_offset - self.base_offset);
            if let (Ok(relative_offset), Ok(position)) = (relative, u32::try_from(position)) {
                self.index.push(OffsetEntry { relative_offset, position });
            }
            self.push_time_entry(&mut growth);
            growth.bytes_since_index = 0;
        }
        growth.bytes_since_index += head.size as u64;
        drop(growth);
        self.set_end_offset(last_offset + 1);
        self.set_size(position + head.size as u64);
    }

    fn push_time_entry(&self, growth: &mut Growth) {
        let Some(max) = growth.max_timestamp.filter(|m| m.timestamp_ms > growth.last_time_entry_ms) else {
            return;
        };
        if let Ok(relative_offset) = u32::try_from(max.offset - self.base_offset) {
            self.times.push(TimeEntry { timestamp_ms: max.timestamp_ms, relative_offset });
            growth.last_time_entry_ms = max.timestamp_ms;
        }
    }

    /// Largest timestamp so far.
    pub fn max_timestamp(&self) -> io::Result<Option<MaxTimestamp>> {
        if let Some(max) = self.growth.lock().max_timestamp {
            return Ok(Some(max));
        }
        let max = self.times.last(&*self.storage)?.map(|e| MaxTimestamp {
            timestamp_ms: e.timestamp_ms,
            offset: self.base_offset + i64::from(e.relative_offset),
        });
        let mut growth = self.growth.lock();
        growth.max_timestamp = growth.max_timestamp.or(max);
        Ok(growth.max_timestamp)
    }

    /// Timestamp of the first batch, where it is known.
    pub fn first_timestamp(&self) -> io::Result<Option<i64>> {
        if let Some(first) = self.growth.lock().first_timestamp_ms {
            return Ok(Some(first));
        }
        if self.size() == 0 {
            return Ok(None);
        }
        let first = self.head_at(0)?.map(|h| h.max_timestamp_ms);
        self.growth.lock().first_timestamp_ms = first;
        Ok(first)
    }

    /// Bytes the larger index takes, relative to its limit.
    pub fn index_is_full(&self, index_bytes_max: u32) -> bool {
        let max = index_bytes_max as usize;
        (self.index.len() + 1) * 8 > max || (self.times.len() + 1) * 12 > max
    }

    /// Prepares the counters of a segment that was found on disk for further appends, knowing its last
    /// time entry and the batches after the last index entry.
    pub fn resume(&self, bytes_since_index: u64, scanned_max: Option<MaxTimestamp>) -> io::Result<()> {
        let last_entry = self.times.last(&*self.storage)?;
        let mut growth = self.growth.lock();
        growth.bytes_since_index = bytes_since_index;
        growth.last_time_entry_ms = last_entry.map_or(-1, |e| e.timestamp_ms);
        let from_index = last_entry.map(|e| MaxTimestamp {
            timestamp_ms: e.timestamp_ms,
            offset: self.base_offset + i64::from(e.relative_offset),
        });
        growth.max_timestamp = match (from_index, scanned_max) {
            (Some(a), Some(b)) => Some(if b.timestamp_ms > a.timestamp_ms { b } else { a }),
            (a, b) => a.or(b),
        };
        Ok(())
    }

    /// Forgets all counters and entries of the offset and time index, before a rebuild by [`Segment::note_batch`].
    pub fn reset(&self) -> io::Result<()> {
        self.index.clear(&*self.storage)?;
        self.times.clear(&*self.storage)?;
        let mut growth = self.growth.lock();
        *growth = Growth {
            bytes_since_index: 0,
            max_timestamp: None,
            first_timestamp_ms: None,
            last_time_entry_ms: -1,
        };
        self.set_end_offset(self.base_offset);
        Ok(())
    }

    /// Writes index entries that are only in memory; with `complete` the closing time entry too, and syncs.
    pub fn flush_indexes(&self, complete: bool) -> io::Result<()> {
        if complete {
            self.push_time_entry(&mut self.growth.lock());
        }
        self.index.flush(&*self.storage)?;
        self.times.flush(&*self.storage)?;
        if complete {
            // From now on a start trusts them without looking.
            self.index.sync(&*self.storage)?;
            self.times.sync(&*self.storage)?;
        }
        Ok(())
    }

    /// Cuts the file to the segment's size, which gives reserved room back.
    pub fn trim(&self) -> io::Result<()> {
        self.file()?.set_len(self.size())?;
        self.reserved.store(self.size(), Ordering::Release);
        Ok(())
    }

    pub fn is_in_directory(&self) -> bool {
        self.in_directory.load(Ordering::Acquire)
    }

    /// The directory was synced after the segment was made: it can be found after a crash.
    pub fn in_directory(&self) {
        self.synced.lock().in_directory = true;
        self.in_directory.store(true, Ordering::Release);
    }

    /// Makes sure that the file itself can be found after a crash.
    pub fn sync_directory(&self) -> io::Result<()> {
        if self.is_in_directory() {
            return Ok(());
        }
        let mut synced = self.synced.lock();
        if !synced.in_directory {
            self.storage.sync_dir(&self.dir)?;
            synced.in_directory = true;
            self.in_directory.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Syncs what was written so far, unless `allowed` objects. `on_error` runs before another thread can try the
    /// same file.
    pub fn sync(
        &self,
        allowed: impl FnOnce() -> io::Result<()>,
        on_error: impl FnOnce(&io::Error),
    ) -> io::Result<()> {
        let mut synced = self.synced.lock();
        allowed()?;
        if self.is_sealed() {
            return Ok(());
        }
        let done = self.sync_locked(&mut synced);
        if let Err(e) = &done {
            on_error(e);
        }
        done
    }

    fn sync_locked(&self, synced: &mut Synced) -> io::Result<()> {
        if !synced.in_directory {
            self.storage.sync_dir(&self.dir)?;
            synced.in_directory = true;
            self.in_directory.store(true, Ordering::Release);
        }
        self.txns.sync(&*self.storage)?;
        self.file()?.sync_data()
    }

    /// Reads the fixed part of the batch at `position`.
    pub fn head_at(&self, position: u64) -> io::Result<Option<Head>> {
        let mut buf = [0u8; HEADER_LEN];
        let n = self.file()?.read_at(position, &mut buf)?;
        Ok(if n == HEADER_LEN { Head::parse(&buf) } else { None })
    }

    /// Walks the batches from byte `from` up to byte `to`.
    pub fn scan(&self, from: u64, to: u64) -> io::Result<HeadScan> {
        Ok(HeadScan { file: self.file()?, position: from, end: to, buf: Vec::new(), buf_start: 0 })
    }

    /// Where to start walking to find `offset`: a batch start at or before the batch that holds it.
    fn floor_position(&self, offset: i64, end_position: u64) -> io::Result<u64> {
        let Ok(relative) = u32::try_from(offset - self.base_offset) else { return Ok(0) };
        let found = self.index.find(&*self.storage, |e| {
            e.relative_offset <= relative && u64::from(e.position) < end_position
        })?;
        let Some(entry) = found else { return Ok(0) };
        Ok(if self.entry_is_sound(&entry)? { u64::from(entry.position) } else { 0 })
    }

    /// Whether the batch that an index entry names is there.
    fn entry_is_sound(&self, entry: &OffsetEntry) -> io::Result<bool> {
        let expected = self.base_offset + i64::from(entry.relative_offset);
        let head = self.head_at(u64::from(entry.position))?;
        let sound = head.is_some_and(|h| h.defect().is_none() && h.last_offset() == expected);
        if !sound {
            let file = self.log_path();
            tracing::warn!(file = %file.display(), "an index entry does not match its log; scanning instead");
        }
        Ok(sound)
    }

    /// The first batch before byte `end_position` whose last offset is at or after `offset`; else where the walk
    /// ended, which is before `end_position` only if no whole batch stands there.
    pub fn locate(&self, offset: i64, end_position: u64) -> io::Result<Result<(u64, Head), u64>> {
        let start = self.floor_position(offset, end_position)?;
        let mut scan = self.scan(start, end_position)?;
        while let Some((position, head)) = scan.next()? {
            if head.last_offset() >= offset {
                return Ok(Ok((position, head)));
            }
        }
        Ok(Err(scan.position()))
    }

    /// The last batch boundary at or before byte `wanted`, knowing that `start` and `end` are boundaries.
    pub fn boundary_before(&self, start: u64, wanted: u64, end: u64) -> io::Result<u64> {
        if wanted >= end {
            return Ok(end);
        }
        let entry = self.index.find(&*self.storage, |e| u64::from(e.position) <= wanted)?;
        let from = match entry.filter(|e| u64::from(e.position) > start) {
            Some(entry) if self.entry_is_sound(&entry)? => u64::from(entry.position),
            _ => start,
        };
        let mut scan = self.scan(from, end)?;
        let mut boundary = from;
        while let Some((position, head)) = scan.next()? {
            boundary = position;
            if position + head.size as u64 > wanted {
                break;
            }
            boundary = position + head.size as u64;
        }
        Ok(boundary)
    }
}

/// Walks batch heads without reading the records between them.
pub(crate) struct HeadScan {
    file: Arc<dyn StorageFile>,
    position: u64,
    end: u64,
    buf: Vec<u8>,
    buf_start: u64,
}

impl HeadScan {
    /// The next batch's position and head; `None` at the end, and where no whole batch begins.
    pub fn next(&mut self) -> io::Result<Option<(u64, Head)>> {
        let position = self.position;
        if position + HEADER_LEN as u64 > self.end {
            return Ok(None);
        }
        let buffered_end = self.buf_start + self.buf.len() as u64;
        if position < self.buf_start || position + HEADER_LEN as u64 > buffered_end {
            let wanted = usize::try_from(self.end - position).unwrap_or(SCAN_CHUNK).min(SCAN_CHUNK);
            self.buf.resize(wanted, 0);
            let n = self.file.read_at(position, &mut self.buf)?;
            self.buf.truncate(n);
            self.buf_start = position;
        }
        let at = usize::try_from(position - self.buf_start).unwrap_or(usize::MAX);
        let Some(head) = self.buf.get(at..).and_then(Head::parse) else { return Ok(None) };
        if head.defect().is_some() || position + head.size as u64 > self.end {
            return Ok(None);
        }
        self.position = position + head.size as u64;
        Ok(Some((position, head)))
    }

    /// Where the walk stands: after the last whole batch.
    pub fn position(&self) -> u64 {
        self.position
    }
}
