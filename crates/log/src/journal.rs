//! The journal: one preallocated file that takes all small appends of a directory, so that one sync serves them
//! all (ADR 1). Format: `docs/formats.md`.
//!
//! Two slots (files) are used in turn. A slot holds rounds; a round is what one sync made durable. When a slot is
//! full, the segments its rounds went to are synced in the background; then the slot gets a new generation number,
//! which makes its old rounds void, and can be used again.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::TopicId;
use crate::batch::be;
use crate::storage::{OpenMode, Storage, StorageFile};

/// Rounds begin at multiples of this: a round never shares a sector with an earlier, synced one.
pub(crate) const ALIGNMENT: u64 = 512;
/// Where the rounds begin; before it lie two copies of the slot's header.
pub(crate) const ROUNDS_START: u64 = 4096;
const HEADER_COPY: u64 = 2048;
const SLOT_MAGIC: &[u8; 8] = b"TRIBJRNL";
const ROUND_MAGIC: &[u8; 4] = b"TRJR";
const VERSION: u32 = 1;
const SLOT_HEADER_LEN: usize = 32;
const ROUND_HEADER_LEN: usize = 40;
const PART_LEN: usize = 56;
/// Smallest useful slot.
pub(crate) const SLOT_BYTES_MIN: u64 = 256 << 10;

/// Zeros written ahead of the rounds of a fresh slot.
static FILL_AHEAD: [u8; 128 << 10] = [0; 128 << 10];

const KIND_DATA: u8 = 1;
const KIND_TRUNCATE: u8 = 2;
const KIND_DURABLE: u8 = 3;

/// Which log a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogKey {
    pub topic_id: TopicId,
    pub partition: i32,
}

/// What a part of a round says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Batches at a place of a segment. Everything of this log before them was durable, or stands earlier in the
    /// journal.
    Data { base_offset: i64, segment_base: i64, position: u64 },
    /// The log was cut at this offset.
    Truncate { offset: i64 },
    /// The log was on stable storage, in its segments, up to this offset.
    Durable { end_offset: i64 },
}

/// One part of a round: what to write, and how many of the round's data bytes are its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartHead {
    pub key: LogKey,
    pub kind: PartKind,
    pub len: u32,
}

fn put_part(out: &mut Vec<u8>, part: &PartHead) {
    let (kind, base_offset, segment_base, position) = match part.kind {
        PartKind::Data { base_offset, segment_base, position } => {
            (KIND_DATA, base_offset, segment_base, position)
        }
        PartKind::Truncate { offset } => (KIND_TRUNCATE, offset, 0, 0),
        PartKind::Durable { end_offset } => (KIND_DURABLE, end_offset, 0, 0),
    };
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&part.key.partition.to_be_bytes());
    out.extend_from_slice(&part.key.topic_id);
    out.extend_from_slice(&base_offset.to_be_bytes());
    out.extend_from_slice(&segment_base.to_be_bytes());
    out.extend_from_slice(&position.to_be_bytes());
    out.extend_from_slice(&part.len.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
}

fn get_part(raw: &[u8]) -> Option<PartHead> {
    let base_offset = i64::from_be_bytes(be(raw, 24)?);
    let kind = match *raw.first()? {
        KIND_DATA => PartKind::Data {
            base_offset,
            segment_base: i64::from_be_bytes(be(raw, 32)?),
            position: u64::from_be_bytes(be(raw, 40)?),
        },
        KIND_TRUNCATE => PartKind::Truncate { offset: base_offset },
        KIND_DURABLE => PartKind::Durable { end_offset: base_offset },
        _ => return None,
    };
    let key = LogKey { partition: i32::from_be_bytes(be(raw, 4)?), topic_id: be(raw, 8)? };
    Some(PartHead { key, kind, len: u32::from_be_bytes(be(raw, 48)?) })
}

/// Bytes a round of `parts` parts needs besides its data.
pub(crate) fn round_overhead(parts: usize) -> usize {
    ROUND_HEADER_LEN + parts * PART_LEN
}

/// One of the two files.
pub(crate) struct Slot {
    pub number: u32,
    file: Arc<dyn StorageFile>,
    pub generation: u64,
    /// A random number of this generation: no record's bytes can pass for a round.
    salt: u64,
    /// Where the next round goes.
    position: u64,
    /// Index of the next round in this generation.
    next_round: u64,
    capacity: u64,
    /// Bytes of the file that have been written before: overwriting them changes no metadata, which makes the sync
    /// about twice as fast.
    filled: u64,
}

/// Path of slot `number`.
pub(crate) fn slot_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("journal-{number:04}"))
}

/// The slot number in a file name, if it is a slot's.
pub(crate) fn slot_number(name: &str) -> Option<u32> {
    name.strip_prefix("journal-").filter(|n| n.len() == 4)?.parse().ok()
}

impl Slot {
    /// Opens or makes a slot, reserves its room and gives it `generation`; all of that is on stable storage
    /// afterwards, save for the directory entry. With too little room the slot is smaller than `capacity`.
    pub fn prepare(
        storage: &dyn Storage,
        dir: &Path,
        number: u32,
        generation: u64,
        capacity: u64,
    ) -> io::Result<Self> {
        let file = storage.open(&slot_path(dir, number), OpenMode::Create)?;
        let mut capacity = capacity.max(SLOT_BYTES_MIN);
        loop {
            match file.reserve(0, capacity) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::StorageFull && capacity / 2 >= SLOT_BYTES_MIN => {
                    capacity /= 2;
                }
                Err(e) => return Err(e),
            }
        }
        let filled = file.len()?;
        let mut slot =
            Self { number, file, generation, salt: 0, position: 0, next_round: 0, capacity, filled };
        slot.start_generation(generation)?;
        Ok(slot)
    }

    /// Makes all rounds void and starts anew.
    pub fn start_generation(&mut self, generation: u64) -> io::Result<()> {
        let mut header = Vec::with_capacity(SLOT_HEADER_LEN);
        header.extend_from_slice(SLOT_MAGIC);
        header.extend_from_slice(&VERSION.to_be_bytes());
        header.extend_from_slice(&generation.to_be_bytes());
        let salt = RandomState::new().hash_one(generation);
        header.extend_from_slice(&salt.to_be_bytes());
        let crc = crc32c::crc32c(&header);
        header.extend_from_slice(&crc.to_be_bytes());
        self.file.write_at(0, &[&header])?;
        self.file.write_at(HEADER_COPY, &[&header])?;
        self.file.sync_data()?;
        self.generation = generation;
        self.salt = salt;
        self.position = ROUNDS_START;
        self.next_round = 0;
        Ok(())
    }

    /// Whether a round of `len` bytes still fits.
    pub fn has_room(&self, len: usize) -> bool {
        self.position + (len as u64).next_multiple_of(ALIGNMENT) <= self.capacity
    }

    /// Largest round that fits an empty slot.
    pub fn round_bytes_max(&self) -> usize {
        usize::try_from(self.capacity - ROUNDS_START - ALIGNMENT).unwrap_or(usize::MAX)
    }

    /// Writes a round and syncs it. After an error nothing is known of it; the slot must not be used again.
    pub fn write_round(
        &mut self,
        scratch: &mut Vec<u8>,
        parts: impl ExactSizeIterator<Item = PartHead>,
        data: &[u8],
    ) -> io::Result<()> {
        scratch.clear();
        let count = parts.len();
        let len = round_overhead(count) + data.len();
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "journal round is too long");
        scratch.extend_from_slice(ROUND_MAGIC);
        scratch.extend_from_slice(&[0; 4]);
        scratch.extend_from_slice(&self.generation.to_be_bytes());
        scratch.extend_from_slice(&self.salt.to_be_bytes());
        scratch.extend_from_slice(&self.next_round.to_be_bytes());
        scratch.extend_from_slice(&u32::try_from(len).map_err(|_| too_long())?.to_be_bytes());
        scratch.extend_from_slice(&u32::try_from(count).map_err(|_| too_long())?.to_be_bytes());
        for part in parts {
            put_part(scratch, &part);
        }
        let crc = crc32c::crc32c(scratch.get(8..).unwrap_or_default());
        let crc = crc32c::crc32c_append(crc, data);
        if let Some(to) = scratch.get_mut(4..8) {
            to.copy_from_slice(&crc.to_be_bytes());
        }
        let padded = (len as u64).next_multiple_of(ALIGNMENT);
        let zeros = [0u8; ALIGNMENT as usize];
        let padding = usize::try_from(padded - len as u64).unwrap_or(0);
        let padding = zeros.get(..padding).unwrap_or_default();
        let end = self.position + padded;
        let mut parts: [&[u8]; 4] = [scratch, data, padding, &[]];
        if end > self.filled {
            // Once per generation at most, and never again for this file.
            let ahead = (self.capacity - end).min(FILL_AHEAD.len() as u64);
            let ahead = usize::try_from(ahead).unwrap_or(0);
            if let Some(last) = parts.last_mut() {
                *last = FILL_AHEAD.get(..ahead).unwrap_or_default();
            }
            self.filled = end + ahead as u64;
        }
        self.file.write_at(self.position, &parts)?;
        self.file.sync_data()?;
        self.position = end;
        self.next_round += 1;
        Ok(())
    }

    /// Size of the slot.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }
}

/// A part read back.
#[derive(Clone, Debug)]
pub(crate) struct ReadPart {
    pub head: PartHead,
    /// Where its bytes are in [`ReadSlot::bytes`].
    pub data: std::ops::Range<usize>,
}

/// A slot read back.
pub(crate) struct ReadSlot {
    pub generation: u64,
    pub bytes: Vec<u8>,
    pub parts: Vec<ReadPart>,
    /// Damage found: not a torn last round, but rounds missing before valid ones.
    pub damage: Option<String>,
}

/// Reads a slot; `None` if the file holds no valid header (a slot that was never put to use).
pub(crate) fn read_slot(storage: &dyn Storage, dir: &Path, number: u32) -> io::Result<Option<ReadSlot>> {
    let file = storage.open(&slot_path(dir, number), OpenMode::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0u8; len];
    let n = file.read_at(0, &mut bytes)?;
    bytes.truncate(n);
    let Some((generation, salt)) =
        slot_generation(&bytes, 0).or_else(|| slot_generation(&bytes, HEADER_COPY as usize))
    else {
        return Ok(None);
    };
    let mut slot = ReadSlot { generation, bytes: Vec::new(), parts: Vec::new(), damage: None };
    let mut at = ROUNDS_START as usize;
    let mut expected = 0;
    while at < bytes.len() {
        match read_round(&bytes, at, generation, salt) {
            Some((index, end, parts)) if index >= expected => {
                if index > expected {
                    slot.damage = Some(format!(
                        "{}: rounds {expected}..{index} are damaged, later ones are not",
                        slot_path(dir, number).display()
                    ));
                }
                expected = index + 1;
                slot.parts.extend(parts);
                at = end.next_multiple_of(ALIGNMENT as usize);
            }
            // A torn round, or the end of this generation; a later valid one would mean damage.
            _ => at += ALIGNMENT as usize,
        }
    }
    slot.bytes = bytes;
    Ok(Some(slot))
}

fn slot_generation(bytes: &[u8], at: usize) -> Option<(u64, u64)> {
    let header = bytes.get(at..at.checked_add(SLOT_HEADER_LEN)?)?;
    let (body, crc) = header.split_at_checked(SLOT_HEADER_LEN - 4)?;
    let valid = body.starts_with(SLOT_MAGIC)
        && u32::from_be_bytes(be(body, 8)?) == VERSION
        && u32::from_be_bytes(be(crc, 0)?) == crc32c::crc32c(body);
    if !valid {
        return None;
    }
    Some((u64::from_be_bytes(be(body, 12)?), u64::from_be_bytes(be(body, 20)?)))
}

fn read_round(bytes: &[u8], at: usize, generation: u64, salt: u64) -> Option<(u64, usize, Vec<ReadPart>)> {
    let round = bytes.get(at..)?;
    let ours = round.starts_with(ROUND_MAGIC)
        && u64::from_be_bytes(be(round, 8)?) == generation
        && u64::from_be_bytes(be(round, 16)?) == salt;
    if !ours {
        return None;
    }
    let index = u64::from_be_bytes(be(round, 24)?);
    let len = usize::try_from(u32::from_be_bytes(be(round, 32)?)).ok()?;
    let count = usize::try_from(u32::from_be_bytes(be(round, 36)?)).ok()?;
    let whole = round.get(..len)?;
    if crc32c::crc32c(whole.get(8..)?) != u32::from_be_bytes(be(whole, 4)?) {
        return None;
    }
    let table_end = ROUND_HEADER_LEN.checked_add(count.checked_mul(PART_LEN)?)?;
    let mut parts = Vec::new();
    let mut data = at.checked_add(table_end)?;
    for raw in whole.get(ROUND_HEADER_LEN..table_end)?.chunks_exact(PART_LEN) {
        let head = get_part(raw)?;
        let end = data.checked_add(usize::try_from(head.len).ok()?)?;
        parts.push(ReadPart { head, data: data..end });
        data = end;
    }
    if data != at + len {
        return None;
    }
    Some((index, at + len, parts))
}
