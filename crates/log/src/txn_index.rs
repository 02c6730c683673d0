//! `.txnindex`: aborted transactions whose marker lies in a segment, in Kafka's binary format.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::AbortedTxn;
use crate::batch::be;
use crate::storage::{OpenMode, Storage, read_file, replace_file};

const ENTRY_LEN: usize = 34;

/// Aborted transactions of one segment; read from the file when first asked for.
pub(crate) struct TxnIndex {
    path: PathBuf,
    entries: Mutex<Option<Vec<AbortedTxn>>>,
    /// Whether the file itself can be found after a crash.
    in_directory: AtomicBool,
}

fn encode(txn: &AbortedTxn) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENTRY_LEN);
    out.extend_from_slice(&0i16.to_be_bytes());
    for field in [txn.producer_id, txn.first_offset, txn.last_offset, txn.last_stable_offset] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out
}

fn decode(raw: &[u8]) -> Option<AbortedTxn> {
    if i16::from_be_bytes(be(raw, 0)?) != 0 {
        return None;
    }
    let txn = AbortedTxn {
        producer_id: i64::from_be_bytes(be(raw, 2)?),
        first_offset: i64::from_be_bytes(be(raw, 10)?),
        last_offset: i64::from_be_bytes(be(raw, 18)?),
        last_stable_offset: i64::from_be_bytes(be(raw, 26)?),
    };
    // A marker stands behind its records; what a crash left as zeros is no entry.
    (txn.last_offset > txn.first_offset).then_some(txn)
}

fn load(storage: &dyn Storage, path: &Path) -> io::Result<Vec<AbortedTxn>> {
    let bytes = read_file(storage, path)?.unwrap_or_default();
    Ok(bytes.chunks_exact(ENTRY_LEN).map_while(decode).collect())
}

impl TxnIndex {
    /// An index without a file.
    pub fn empty(path: PathBuf) -> Self {
        Self { path, entries: Mutex::new(Some(Vec::new())), in_directory: AtomicBool::new(false) }
    }

    /// An index with a file.
    pub fn existing(path: PathBuf) -> Self {
        Self { path, entries: Mutex::new(None), in_directory: AtomicBool::new(false) }
    }

    /// Adds a transaction, also to the file.
    pub fn push(&self, storage: &dyn Storage, txn: AbortedTxn) -> io::Result<()> {
        let mut entries = self.entries.lock();
        let list = match entries.as_mut() {
            Some(list) => list,
            None => entries.insert(load(storage, &self.path)?),
        };
        let position = (list.len() * ENTRY_LEN) as u64;
        list.push(txn);
        storage.open(&self.path, OpenMode::Create)?.write_at(position, &[&encode(&txn)])
    }

    /// Replaces all entries: after a crash the old ones are there or the new ones.
    pub fn replace(&self, storage: &dyn Storage, txns: Vec<AbortedTxn>) -> io::Result<()> {
        let mut entries = self.entries.lock();
        let list = match entries.as_mut() {
            Some(list) => list,
            None => entries.insert(load(storage, &self.path)?),
        };
        let file_len = ENTRY_LEN * txns.len();
        let same = *list == txns
            && match storage.open(&self.path, OpenMode::Read) {
                Ok(file) => file.len()? == file_len as u64,
                Err(e) if e.kind() == io::ErrorKind::NotFound => txns.is_empty(),
                Err(e) => return Err(e),
            };
        if !same {
            let bytes: Vec<u8> = txns.iter().flat_map(encode).collect();
            replace_file(storage, &self.path, &bytes)?;
        }
        *entries = Some(txns);
        Ok(())
    }

    /// Takes entries for an index whose file is written elsewhere first, on stable storage, and gets its name later.
    pub fn write_as(&self, storage: &dyn Storage, path: &Path, txns: Vec<AbortedTxn>) -> io::Result<()> {
        let bytes: Vec<u8> = txns.iter().flat_map(encode).collect();
        let file = storage.open(path, OpenMode::Truncate)?;
        file.write_at(0, &[&bytes])?;
        file.sync_data()?;
        *self.entries.lock() = Some(txns);
        Ok(())
    }

    /// Reads the file, so that the entries stay known whatever becomes of it; whether there are any.
    pub fn pin(&self, storage: &dyn Storage) -> io::Result<bool> {
        let mut entries = self.entries.lock();
        let list = match entries.as_mut() {
            Some(list) => list,
            None => entries.insert(load(storage, &self.path)?),
        };
        Ok(!list.is_empty())
    }

    /// Puts the file on stable storage, if there is anything in it.
    pub fn sync(&self, storage: &dyn Storage) -> io::Result<()> {
        if self.entries.lock().as_ref().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        storage.open(&self.path, OpenMode::Create)?.sync_data()?;
        if !self.in_directory.load(Ordering::Acquire) {
            if let Some(dir) = self.path.parent() {
                storage.sync_dir(dir)?;
            }
            self.in_directory.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Transactions that touch `from..to`, and whether no later one can.
    pub fn overlapping(
        &self,
        storage: &dyn Storage,
        from: i64,
        to: i64,
    ) -> io::Result<(Vec<AbortedTxn>, bool)> {
        let mut entries = self.entries.lock();
        let list = match entries.as_mut() {
            Some(list) => list,
            None => entries.insert(load(storage, &self.path)?),
        };
        // In the order of their markers.
        let first = list.partition_point(|txn| txn.last_offset < from);
        let mut found = Vec::new();
        for txn in list.iter().skip(first) {
            if txn.first_offset < to {
                found.push(*txn);
            }
            if txn.last_stable_offset >= to {
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }
}
