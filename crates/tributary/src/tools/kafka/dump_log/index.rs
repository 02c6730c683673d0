//! Indexes and snapshots beside a segment, checked against it.

use std::io::Write;
use std::path::Path;

use kafka_codec::records;
use kafka_codec::wire::Reader;

use super::super::run::Failure;
use super::segment::{BatchReader, batch};
use super::{Findings, absolute, base_offset, not_found};

const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;
const ABORTED_ENTRY: usize = 34;
/// Largest batch that is decompressed into.
const DECOMPRESSED_MAX: usize = 1 << 30;

/// What to do with an index.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Only the check that a broker makes at its start.
    pub sanity_only: bool,
    /// Check, but do not print.
    pub verify_only: bool,
    /// Largest batch that an entry may point at.
    pub batch_max: u64,
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| not_found(file, &error))
}

fn corrupt(message: String) -> Failure {
    Failure::new("org.apache.kafka.storage.internals.log.CorruptIndexException", message)
}

fn none() -> Failure {
    Failure::new("java.util.NoSuchElementException", "")
}

/// Entries of an offset index: offset and position.
fn offset_entries(bytes: &[u8], base: i64) -> Vec<(i64, u64)> {
    let entry = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let (offset, position) = (reader.u32().unwrap_or_default(), reader.u32().unwrap_or_default());
        (base.saturating_add(i64::from(offset)), u64::from(position))
    };
    bytes.chunks_exact(OFFSET_ENTRY).map(entry).collect()
}

/// Entries of a time index: timestamp and offset.
fn time_entries(bytes: &[u8], base: i64) -> Vec<(i64, i64)> {
    let entry = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let (time, offset) = (reader.i64().unwrap_or_default(), reader.u32().unwrap_or_default());
        (time, base.saturating_add(i64::from(offset)))
    };
    bytes.chunks_exact(TIME_ENTRY).map(entry).collect()
}

/// Prints an offset index and compares it with its segment.
///
/// # Errors
/// A file cannot be read, or the index is corrupt.
pub fn dump_offsets(
    out: &mut impl Write,
    file: &Path,
    wish: &Wish,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let base = base_offset(file)?;
    let log = file.with_extension("log");
    BatchReader::open(&log, 0, 0).map_err(|failure| at_absolute(failure, &log))?;
    let bytes = read(file)?;
    let entries = offset_entries(&bytes, base);
    let Some((last, _)) = entries.last() else {
        writeln!(out, "{} is empty.", file.display())?;
        return Ok(());
    };
    if wish.sanity_only {
        let path = absolute(file);
        if *last < base {
            return Err(corrupt(format!(
                "Corrupt index found, index file {} has non-zero size but the last offset is {last} which is less than \
                 the base offset {base}",
                path.display()
            )));
        }
        if !bytes.len().is_multiple_of(OFFSET_ENTRY) {
            return Err(corrupt(format!(
                "Index file {} is corrupt, found {} bytes which is neither positive nor a multiple of {OFFSET_ENTRY}",
                path.display(),
                bytes.len()
            )));
        }
        writeln!(out, "{} passed sanity check.", file.display())?;
        return Ok(());
    }
    let mut buffer = Vec::new();
    for (at, (offset, position)) in entries.iter().enumerate() {
        // A file that was made large beforehand ends in zeros.
        if *offset == base && at > 0 {
            break;
        }
        let mut reader = BatchReader::open(&log, *position, wish.batch_max)?;
        if !reader.next(&mut buffer)? {
            return Err(none());
        }
        let found = batch(&buffer)?.header.last_offset();
        if found != *offset {
            let mismatches = findings.index_mismatches.entry(absolute(file)).or_default();
            mismatches.insert(std::cmp::Reverse(*offset), found);
        }
        if !wish.verify_only {
            writeln!(out, "offset: {offset} position: {position}")?;
        }
    }
    Ok(())
}

/// The original opens the segment by its absolute path.
fn at_absolute(failure: Failure, log: &Path) -> Failure {
    match failure.exception.as_str() {
        "java.nio.file.NoSuchFileException" => {
            Failure { message: absolute(log).display().to_string(), ..failure }
        }
        _ => failure,
    }
}

/// Prints a time index and compares it with its segment.
///
/// # Errors
/// A file cannot be read, or the index is corrupt.
pub fn dump_times(
    out: &mut impl Write,
    file: &Path,
    wish: &Wish,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let base = base_offset(file)?;
    let log = file.with_extension("log");
    BatchReader::open(&log, 0, 0).map_err(|failure| at_absolute(failure, &log))?;
    let offsets = std::fs::read(file.with_extension("index")).unwrap_or_default();
    let mut offsets = offset_entries(&offsets, base);
    let filled =
        offsets.iter().skip(1).position(|(offset, _)| *offset == base).map_or(offsets.len(), |at| at + 1);
    offsets.truncate(filled);
    let bytes = read(file)?;
    let entries = time_entries(&bytes, base);
    if wish.sanity_only {
        check_times(file, base, &bytes, &entries)?;
        writeln!(out, "{} passed sanity check.", file.display())?;
        return Ok(());
    }
    let mut before = -1;
    let (mut buffer, mut scratch) = (Vec::new(), Vec::new());
    for (at, (time, offset)) in entries.iter().enumerate() {
        if *offset == base && at > 0 {
            break;
        }
        let known = offsets.partition_point(|(indexed, _)| indexed <= offset);
        let position =
            known.checked_sub(1).and_then(|at| offsets.get(at)).map_or(0, |(_, position)| *position);
        let mut reader = BatchReader::open(&log, position, u64::MAX)?;
        let mut found = -1;
        while reader.next(&mut buffer)? {
            let last = batch(&buffer)?.header.last_offset();
            if last >= *offset {
                found = last;
                break;
            }
        }
        if found == *offset {
            let batch = batch(&buffer)?;
            let invalid = |error: records::RecordError| {
                Failure::new("org.apache.kafka.common.InvalidRecordException", error.to_string())
            };
            let mut latest = -1;
            for record in records::records(&batch, DECOMPRESSED_MAX, &mut scratch).map_err(invalid)? {
                latest = latest.max(record.map_err(invalid)?.timestamp_ms);
            }
            if latest != *time {
                findings.timestamp_mismatches.entry(absolute(file)).or_default().push((*time, latest));
            }
            if before >= *time {
                findings.timestamps_out_of_order.entry(absolute(file)).or_default().push((*time, before));
            }
        } else {
            findings.offsets_not_found.entry(absolute(file)).or_default().push((*offset, found));
        }
        if !wish.verify_only {
            writeln!(out, "timestamp: {time} offset: {offset}")?;
        }
        before = *time;
    }
    Ok(())
}

fn check_times(file: &Path, base: i64, bytes: &[u8], entries: &[(i64, i64)]) -> Result<(), Failure> {
    let path = absolute(file);
    let path = path.display();
    if let (Some((first, _)), Some((last, offset))) = (entries.first(), entries.last()) {
        if last < first {
            return Err(corrupt(format!(
                "Corrupt time index found, time index file ({path}) has non-zero size but the last timestamp is {last} \
                 which is less than the first timestamp {first}"
            )));
        }
        if *offset < base {
            return Err(corrupt(format!(
                "Corrupt time index found, time index file ({path}) has non-zero size but the last offset is {offset} \
                 which is less than the first offset {base}"
            )));
        }
    }
    if !bytes.len().is_multiple_of(TIME_ENTRY) {
        return Err(corrupt(format!(
            "Time index file {path} is corrupt, found {} bytes which is neither positive nor a multiple of {TIME_ENTRY}",
            bytes.len()
        )));
    }
    Ok(())
}

/// Prints the aborted transactions of a segment.
///
/// # Errors
/// The file cannot be read, or has entries of another version.
pub fn dump_aborted(out: &mut impl Write, file: &Path) -> Result<(), Failure> {
    base_offset(file)?;
    // No file: no aborted transaction.
    let bytes = std::fs::read(file).unwrap_or_default();
    for entry in bytes.chunks_exact(ABORTED_ENTRY) {
        let mut reader = Reader::new(entry);
        let (version, [producer, first, last, stable]) = match aborted(&mut reader) {
            Ok(entry) => entry,
            Err(error) => return Err(Failure::kafka(error.to_string())),
        };
        if version > 0 {
            return Err(Failure::kafka(format!(
                "Unexpected aborted transaction version {version} in transaction index {}, current version is 0",
                absolute(file).display()
            )));
        }
        writeln!(
            out,
            "version: {version} producerId: {producer} firstOffset: {first} lastOffset: {last} lastStableOffset: {stable}"
        )?;
    }
    Ok(())
}

fn aborted(reader: &mut Reader<'_>) -> Result<(i16, [i64; 4]), kafka_codec::DecodeError> {
    let version = reader.i16()?;
    Ok((version, [reader.i64()?, reader.i64()?, reader.i64()?, reader.i64()?]))
}

/// Prints a snapshot of producers' states.
///
/// # Errors
/// The file cannot be read. One that is corrupt is told on standard error.
pub fn dump_producers(out: &mut impl Write, file: &Path) -> Result<(), Failure> {
    let bytes = read(file)?;
    match producers(&bytes) {
        Ok(lines) => {
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
        Err(message) => {
            out.flush()?;
            eprintln!("{message}");
        }
    }
    Ok(())
}

fn producers(bytes: &[u8]) -> Result<Vec<String>, String> {
    let schema = |error: kafka_codec::DecodeError| format!("Snapshot failed schema validation: {error}");
    let mut reader = Reader::new(bytes);
    let version = reader.i16().map_err(schema)?;
    if version != 1 {
        let text = format!("Snapshot contained an unknown file version {version}");
        return Err(format!("Snapshot failed schema validation: {text}"));
    }
    let crc = reader.u32().map_err(schema)?;
    let covered = bytes.get(reader.position()..).unwrap_or_default();
    let count = reader.i32().map_err(schema)?;
    let mut lines = Vec::new();
    for _ in 0..count {
        lines.push(producer(&mut reader).map_err(schema)?);
    }
    let computed = crc32c::crc32c(covered);
    if crc != computed {
        return Err(format!(
            "Snapshot is corrupt (CRC is no longer valid). Stored crc: {crc}. Computed crc: {computed}"
        ));
    }
    Ok(lines)
}

fn producer(reader: &mut Reader<'_>) -> Result<String, kafka_codec::DecodeError> {
    let (id, epoch, last_sequence, last_offset) =
        (reader.i64()?, reader.i16()?, reader.i32()?, reader.i64()?);
    let (delta, time, coordinator, open) = (reader.i32()?, reader.i64()?, reader.i32()?, reader.i64()?);
    let open = match open {
        offset if offset >= 0 => format!("OptionalLong[{offset}]"),
        _ => "OptionalLong.empty".to_owned(),
    };
    let mut line = format!(
        "producerId: {id} producerEpoch: {epoch} coordinatorEpoch: {coordinator} currentTxnFirstOffset: {open} \
         lastTimestamp: {time}"
    );
    if last_offset >= 0 {
        // Sequences wrap to 0 after the largest.
        let first_sequence = (i64::from(last_sequence) - i64::from(delta)).rem_euclid(1 << 31);
        line.push_str(&format!(
            " firstSequence: {first_sequence} lastSequence: {last_sequence} lastOffset: {last_offset} offsetDelta: \
             {delta} timestamp: {time}"
        ));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_checked() {
        let mut entries = 1i32.to_be_bytes().to_vec();
        entries.extend(7i64.to_be_bytes());
        entries.extend(2i16.to_be_bytes());
        entries.extend(9i32.to_be_bytes());
        entries.extend(30i64.to_be_bytes());
        entries.extend(4i32.to_be_bytes());
        entries.extend(1000i64.to_be_bytes());
        entries.extend((-1i32).to_be_bytes());
        entries.extend((-1i64).to_be_bytes());
        let mut bytes = 1i16.to_be_bytes().to_vec();
        bytes.extend(crc32c::crc32c(&entries).to_be_bytes());
        bytes.extend(&entries);
        assert_eq!(
            producers(&bytes),
            Ok(vec![
                "producerId: 7 producerEpoch: 2 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong.empty \
                 lastTimestamp: 1000 firstSequence: 5 lastSequence: 9 lastOffset: 30 offsetDelta: 4 timestamp: 1000"
                    .to_owned()
            ])
        );
        *bytes.last_mut().unwrap() = 0;
        assert!(producers(&bytes).is_err_and(|e| e.starts_with("Snapshot is corrupt")));
        assert!(producers(&bytes[..20]).is_err_and(|e| e.starts_with("Snapshot failed schema validation")));
    }
}
