//! The fixed part of a v2 record batch, as far as the log itself looks at it.
//!
//! Layout: Kafka protocol guide, "Record Batch". Integers are big-endian.

/// Bytes of the fixed part of a batch.
pub(crate) const HEADER_LEN: usize = 61;
/// Bytes before the part that `length` counts.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
const CRC_START: usize = 21;
const ATTRIBUTE_TIMESTAMP_TYPE: i16 = 0x08;
const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
const ATTRIBUTE_CONTROL: i16 = 0x20;

/// The fixed part of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub base_offset: i64,
    /// Bytes of the whole batch.
    pub size: usize,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

pub(crate) fn be<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Head {
    /// Reads the fixed part; `None` if `bytes` is shorter than it. Nothing is checked.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let length = i32::from_be_bytes(be(bytes, 8)?);
        Some(Self {
            base_offset: i64::from_be_bytes(be(bytes, 0)?),
            size: usize::try_from(length).unwrap_or(0) + LENGTH_OVERHEAD,
            leader_epoch: i32::from_be_bytes(be(bytes, 12)?),
            magic: i8::from_be_bytes(be(bytes, 16)?),
            crc: u32::from_be_bytes(be(bytes, 17)?),
            attributes: i16::from_be_bytes(be(bytes, CRC_START)?),
            last_offset_delta: i32::from_be_bytes(be(bytes, 23)?),
            base_timestamp_ms: i64::from_be_bytes(be(bytes, 27)?),
            max_timestamp_ms: i64::from_be_bytes(be(bytes, 35)?),
            producer_id: i64::from_be_bytes(be(bytes, 43)?),
            producer_epoch: i16::from_be_bytes(be(bytes, 51)?),
            base_sequence: i32::from_be_bytes(be(bytes, 53)?),
            record_count: i32::from_be_bytes(be(bytes, 57)?),
        })
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Sequence number of the last record; sequences wrap from 2^31 - 1 to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        i32::try_from(last & 0x7fff_ffff).unwrap_or(0)
    }

    /// Why the fixed part cannot start a batch of ours, if so.
    pub fn defect(&self) -> Option<&'static str> {
        if self.magic != 2 {
            return Some("magic is not 2");
        }
        if self.size < HEADER_LEN {
            return Some("batch length is too small");
        }
        if self.last_offset_delta < 0 || self.base_offset < 0 {
            return Some("negative offset");
        }
        None
    }
}

/// Checksum of a whole batch, as it should stand in its header.
pub(crate) fn checksum(batch: &[u8]) -> u32 {
    batch.get(CRC_START..).map_or(0, crc32c::crc32c)
}

/// Writes what the leader writes: base offset and leader epoch. Both lie outside the checksum.
pub(crate) fn stamp(header: &mut [u8], base_offset: i64, leader_epoch: i32) {
    if let Some(to) = header.get_mut(0..8) {
        to.copy_from_slice(&base_offset.to_be_bytes());
    }
    if let Some(to) = header.get_mut(12..16) {
        to.copy_from_slice(&leader_epoch.to_be_bytes());
    }
}

/// Writes the largest timestamp (with `append_time`: as the time of all records) into a batch's header, given the
/// bytes after the header, and renews the checksum.
pub(crate) fn stamp_time(header: &mut [u8], rest: &[u8], max_timestamp_ms: i64, append_time: bool) {
    let Some(attributes) = be(header, CRC_START).map(i16::from_be_bytes) else { return };
    let attributes = if append_time { attributes | ATTRIBUTE_TIMESTAMP_TYPE } else { attributes };
    if let Some(to) = header.get_mut(CRC_START..CRC_START + 2) {
        to.copy_from_slice(&attributes.to_be_bytes());
    }
    if let Some(to) = header.get_mut(35..43) {
        to.copy_from_slice(&max_timestamp_ms.to_be_bytes());
    }
    let crc = header.get(CRC_START..HEADER_LEN).map_or(0, crc32c::crc32c);
    let crc = crc32c::crc32c_append(crc, rest);
    if let Some(to) = header.get_mut(17..21) {
        to.copy_from_slice(&crc.to_be_bytes());
    }
}

/// What a control batch says, read from its single record's key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndTxnMarker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// Reads the end-of-transaction marker of a control batch; `None` for other control types.
pub(crate) fn end_txn_marker(batch: &[u8]) -> Option<EndTxnMarker> {
    let mut at = HEADER_LEN;
    let varint = |at: &mut usize| -> Option<i64> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *batch.get(*at)?;
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    };
    varint(&mut at)?; // record length
    at += 1; // attributes
    varint(&mut at)?; // timestamp delta
    varint(&mut at)?; // offset delta
    let key_len = usize::try_from(varint(&mut at)?).ok()?;
    let key = batch.get(at..at.checked_add(key_len)?)?;
    at += key_len;
    let value_len = usize::try_from(varint(&mut at)?).ok()?;
    let value = batch.get(at..at.checked_add(value_len)?)?;
    let control_type = i16::from_be_bytes(be(key, 2)?);
    if control_type != 0 && control_type != 1 {
        return None;
    }
    Some(EndTxnMarker { commit: control_type == 1, coordinator_epoch: i32::from_be_bytes(be(value, 2)?) })
}
