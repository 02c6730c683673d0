//! Sparse indexes in Kafka's binary format: `.index` (offset → position), `.timeindex` (time → offset).
//!
//! Entries are appended in memory and reach the file at a checkpoint, when the segment is sealed, or at the
//! close; recovery makes the missing ones again from the segment. Readers search the part in memory under a
//! short lock and the part in the file without one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::batch::be;
use crate::storage::{OpenMode, Storage, StorageFile};

/// Entries kept in memory after they were written, so that readers near the tail need no file access.
const KEPT_IN_MEMORY: usize = 256;

/// One entry; both parts rise from entry to entry.
pub(crate) trait Entry: Copy + Send + Sync + 'static {
    const LEN: usize;
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// `.index`: the last offset of a batch, and where the batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// Last offset of the batch, relative to the segment's base offset.
    pub relative_offset: u32,
    /// Byte position of the batch.
    pub position: u32,
}

impl Entry for OffsetEntry {
    const LEN: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            relative_offset: u32::from_be_bytes(be(bytes, 0)?),
            position: u32::from_be_bytes(be(bytes, 4)?),
        })
    }
}

/// `.timeindex`: the largest timestamp so far, and the last offset of the batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub timestamp_ms: i64,
    /// Relative to the segment's base offset.
    pub relative_offset: u32,
}

impl Entry for TimeEntry {
    const LEN: usize = 12;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            timestamp_ms: i64::from_be_bytes(be(bytes, 0)?),
            relative_offset: u32::from_be_bytes(be(bytes, 8)?),
        })
    }
}

struct Inner<E> {
    file: Option<Arc<dyn StorageFile>>,
    /// Entries in the file.
    written: usize,
    /// Number of entries before the first in `tail`.
    tail_start: usize,
    tail: Vec<E>,
}

/// A sparse index of one segment.
pub(crate) struct SparseIndex<E> {
    path: PathBuf,
    inner: Mutex<Inner<E>>,
}

impl<E: Entry> SparseIndex<E> {
    /// An index whose file does not exist yet or is to be made anew.
    pub fn empty(path: PathBuf) -> Self {
        Self { path, inner: Mutex::new(Inner { file: None, written: 0, tail_start: 0, tail: Vec::new() }) }
    }

    /// An index whose file exists with `len` bytes; a torn last entry is left out.
    pub fn existing(path: PathBuf, len: u64) -> Self {
        let entries = usize::try_from(len).unwrap_or(0) / E::LEN;
        let inner = Inner { file: None, written: entries, tail_start: entries, tail: Vec::new() };
        Self { path, inner: Mutex::new(inner) }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.tail_start + inner.tail.len()
    }

    pub fn push(&self, entry: E) {
        self.inner.lock().tail.push(entry);
    }

    /// The last entry for which `before` holds; it must hold for a prefix of the entries.
    pub fn find(&self, storage: &dyn Storage, before: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let (file, count) = {
            let mut inner = self.inner.lock();
            let in_tail = inner.tail.partition_point(&before);
            if let Some(found) = in_tail.checked_sub(1).and_then(|i| inner.tail.get(i)) {
                return Ok(Some(*found));
            }
            if inner.tail_start == 0 {
                return Ok(None);
            }
            (Self::file(&self.path, &mut inner, storage)?, inner.tail_start)
        };
        let mut low = 0;
        let mut high = count;
        let mut found = None;
        let mut buf = [0u8; 16];
        while low < high {
            let middle = low + (high - low) / 2;
            let bytes = buf.get_mut(..E::LEN).unwrap_or_default();
            let n = file.read_at((middle * E::LEN) as u64, bytes)?;
            match E::decode(bytes).filter(|_| n == E::LEN) {
                Some(entry) if before(&entry) => {
                    found = Some(entry);
                    low = middle + 1;
                }
                _ => high = middle,
            }
        }
        Ok(found)
    }

    /// The newest entry.
    pub fn last(&self, storage: &dyn Storage) -> io::Result<Option<E>> {
        let (file, count) = {
            let mut inner = self.inner.lock();
            if let Some(last) = inner.tail.last() {
                return Ok(Some(*last));
            }
            if inner.tail_start == 0 {
                return Ok(None);
            }
            (Self::file(&self.path, &mut inner, storage)?, inner.tail_start)
        };
        let mut buf = vec![0u8; E::LEN];
        let n = file.read_at(((count - 1) * E::LEN) as u64, &mut buf)?;
        Ok(E::decode(&buf).filter(|_| n == E::LEN))
    }

    /// Forgets all entries.
    pub fn clear(&self, storage: &dyn Storage) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.written > 0 || inner.file.is_some() {
            Self::file(&self.path, &mut inner, storage)?.set_len(0)?;
        }
        inner.written = 0;
        inner.tail_start = 0;
        inner.tail = Vec::new();
        Ok(())
    }

    /// Writes the entries that are not in the file yet. One caller at a time.
    pub fn flush(&self, storage: &dyn Storage) -> io::Result<()> {
        let (file, from, bytes, count) = {
            let mut inner = self.inner.lock();
            let total = inner.tail_start + inner.tail.len();
            if total == inner.written && (inner.file.is_some() || total > 0) {
                return Ok(());
            }
            let mut bytes = Vec::new();
            let skip = inner.written.saturating_sub(inner.tail_start);
            for entry in inner.tail.iter().skip(skip) {
                entry.encode(&mut bytes);
            }
            (Self::file(&self.path, &mut inner, storage)?, inner.written, bytes, total)
        };
        if !bytes.is_empty() {
            file.write_at((from * E::LEN) as u64, &[&bytes])?;
        }
        let mut inner = self.inner.lock();
        inner.written = count;
        let surplus = (count - inner.tail_start).saturating_sub(KEPT_IN_MEMORY);
        inner.tail.drain(..surplus);
        inner.tail_start += surplus;
        Ok(())
    }

    /// Writes all entries, none of which was written before, to another file, on stable storage: it is to get this
    /// index's name later.
    pub fn write_as(&self, storage: &dyn Storage, path: &std::path::Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let mut bytes = Vec::new();
        for entry in &inner.tail {
            entry.encode(&mut bytes);
        }
        let file = storage.open(path, OpenMode::Truncate)?;
        file.write_at(0, &[&bytes])?;
        file.sync_data()?;
        inner.file = Some(file);
        inner.written = inner.tail.len();
        Ok(())
    }

    /// Opens the file, so that it stays readable whatever becomes of its name.
    pub fn pin(&self, storage: &dyn Storage) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.tail_start > 0 {
            Self::file(&self.path, &mut inner, storage)?;
        }
        Ok(())
    }

    /// Puts the file on stable storage.
    pub fn sync(&self, storage: &dyn Storage) -> io::Result<()> {
        let file = {
            let mut inner = self.inner.lock();
            Self::file(&self.path, &mut inner, storage)?
        };
        file.sync_data()
    }

    /// Gives up what an idle segment does not need, once all is written: the entries in memory and the file handle.
    pub fn release(&self) {
        let mut inner = self.inner.lock();
        if inner.written == inner.tail_start + inner.tail.len() {
            inner.tail_start = inner.written;
            inner.tail = Vec::new();
            inner.file = None;
        }
    }

    fn file(
        path: &std::path::Path,
        inner: &mut Inner<E>,
        storage: &dyn Storage,
    ) -> io::Result<Arc<dyn StorageFile>> {
        if let Some(file) = &inner.file {
            return Ok(Arc::clone(file));
        }
        let file = storage.open(path, OpenMode::Create)?;
        inner.file = Some(Arc::clone(&file));
        Ok(file)
    }
}
