//! The batches of a segment or snapshot, read one at a time.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use kafka_codec::records::{self, Batch, BatchHeader, ControlRecordType, Record, TimestampType};

use super::super::run::Failure;
use super::{Detail, Findings, absolute, base_offset, decoders, not_found};

/// Largest batch that is decompressed into; brokers take none that is larger.
const DECOMPRESSED_MAX: usize = 1 << 30;
/// Bytes of a batch up to its format's number.
const UP_TO_MAGIC: u64 = 17;
/// Bytes of a batch in front of what its length counts.
const OVERHEAD: u64 = 12;
/// Shortest batch of any format.
const SHORTEST: i32 = 14;

/// Reads batches of a file between two positions.
pub struct BatchReader {
    file: BufReader<File>,
    name: String,
    position: u64,
    end: u64,
}

impl BatchReader {
    /// Opens `path` from `start` on, for at most `most` bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path, start: u64, most: u64) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| not_found(path, &error))?;
        let size = file.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 16, file);
        file.seek(SeekFrom::Start(start))?;
        let end = size.min(start.saturating_add(most));
        Ok(Self { file, name: path.display().to_string(), position: start, end })
    }

    /// The next batch's bytes, into `buffer`; `false` at the end, also when what is left is no whole batch.
    ///
    /// # Errors
    /// The file cannot be read, or has something else where a batch should be.
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Failure> {
        let left = self.end.saturating_sub(self.position);
        if left <= UP_TO_MAGIC {
            return Ok(false);
        }
        let mut head = [0; OVERHEAD as usize];
        self.file.read_exact(&mut head)?;
        let [_, _, _, _, _, _, _, _, a, b, c, d] = head;
        let length = i32::from_be_bytes([a, b, c, d]);
        if length < SHORTEST {
            return Err(Failure::new(
                "org.apache.kafka.common.errors.CorruptRecordException",
                format!(
                    "Found record size {length} smaller than minimum record overhead ({SHORTEST}) in file {}.",
                    self.name
                ),
            ));
        }
        let length = u64::from(length.unsigned_abs());
        if length + OVERHEAD > left {
            return Ok(false);
        }
        buffer.clear();
        buffer.extend_from_slice(&head);
        self.file.by_ref().take(length).read_to_end(buffer)?;
        self.position += buffer.len() as u64;
        Ok(true)
    }

    /// Where the next batch begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes from here to the end.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }
}

/// Takes the batch out of its bytes.
///
/// # Errors
/// A format older than 2.
pub fn batch(bytes: &[u8]) -> Result<Batch<'_>, Failure> {
    Batch::first(bytes).map_err(|error| {
        Failure::new("org.apache.kafka.common.errors.UnsupportedForMessageFormatException", error.to_string())
    })
}

/// Prints a segment.
///
/// # Errors
/// The file cannot be read, or is no segment.
pub fn dump(
    out: &mut impl Write,
    file: &Path,
    detail: &Detail,
    findings: &mut Findings,
) -> Result<(), Failure> {
    announce(out, file)?;
    let mut reader = BatchReader::open(file, 0, detail.bytes_max)?;
    let progress =
        super::super::progress::Progress::new("bytes read", usize::try_from(reader.left()).unwrap_or(0));
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    let mut last_offset = -1;
    loop {
        let position = reader.position();
        progress.at(usize::try_from(position).unwrap_or(usize::MAX));
        if !reader.next(&mut bytes)? {
            break;
        }
        let batch = batch(&bytes)?;
        print_batch(out, &batch, position)?;
        if !detail.records {
            continue;
        }
        let records = records::records(&batch, DECOMPRESSED_MAX, &mut scratch).map_err(invalid)?;
        for record in records {
            let record = record.map_err(invalid)?;
            if record.offset != last_offset + 1 {
                findings.gaps.entry(absolute(file)).or_default().insert(last_offset, record.offset);
            }
            last_offset = record.offset;
            print_record(out, &batch.header, &record, detail)?;
        }
    }
    progress.done();
    if reader.left() > 0 && detail.bytes_max == u64::from(i32::MAX.unsigned_abs()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        writeln!(out, "Found {} invalid bytes at the end of {name}", reader.left())?;
    }
    Ok(())
}

fn invalid(error: records::RecordError) -> Failure {
    Failure::new("org.apache.kafka.common.InvalidRecordException", error.to_string())
}

fn announce(out: &mut impl Write, file: &Path) -> Result<(), Failure> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.ends_with(".log") {
        writeln!(out, "Log starting offset: {}", base_offset(file)?)?;
    } else if name == "bootstrap.checkpoint" {
        writeln!(out, "KRaft bootstrap snapshot")?;
    } else {
        let parts = name.strip_suffix(".checkpoint").and_then(|stem| {
            let (offset, epoch) = stem.split_once('-')?;
            Some((offset.parse::<i64>().ok()?, epoch.parse::<i32>().ok()?))
        });
        let none = || Failure::new("java.util.NoSuchElementException", "No value present");
        let (offset, epoch) = parts.ok_or_else(none)?;
        writeln!(out, "Snapshot end offset: {offset}, epoch: {epoch}")?;
    }
    Ok(())
}

fn clock(header: &BatchHeader) -> &'static str {
    match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn print_batch(out: &mut impl Write, batch: &Batch<'_>, position: u64) -> Result<(), Failure> {
    let header = &batch.header;
    let horizon = match header.has_delete_horizon() {
        true => format!("OptionalLong[{}]", header.base_timestamp),
        false => "OptionalLong.empty".to_owned(),
    };
    write!(
        out,
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
         partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon}",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.leader_epoch,
        header.is_transactional(),
        header.is_control(),
    )?;
    writeln!(
        out,
        " position: {position} {}: {} size: {} magic: 2 compresscodec: {} crc: {} isvalid: {}",
        clock(header),
        header.max_timestamp,
        batch.bytes.len(),
        header.compression().map_err(invalid)?.name(),
        header.crc,
        batch.check_crc().is_ok(),
    )?;
    Ok(())
}

fn print_record(
    out: &mut impl Write,
    header: &BatchHeader,
    record: &Record<'_>,
    detail: &Detail,
) -> Result<(), Failure> {
    let size = |bytes: Option<&[u8]>| bytes.map_or("-1".to_owned(), |bytes| bytes.len().to_string());
    if !detail.skip_metadata {
        let sequence = match header.base_sequence {
            first if first < 0 => -1,
            first => (i64::from(first) + i64::from(record.offset_delta)).rem_euclid(1 << 31),
        };
        let names: Vec<_> = record.headers.clone().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        write!(
            out,
            "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
            record.offset,
            clock(header),
            record.timestamp_ms,
            size(record.key),
            size(record.value),
            names.join(",")
        )?;
        if header.is_control() {
            print_control(out, record)?;
        }
    }
    if detail.contents && !header.is_control() {
        let mut prefix = if detail.skip_metadata { "| " } else { " " };
        let (key, value) = detail.parser.parse(record)?;
        if let Some(key) = key {
            write!(out, "{prefix}key: {key}")?;
            prefix = " ";
        }
        if let Some(value) = value {
            write!(out, "{prefix}payload: {value}")?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn print_control(out: &mut impl Write, record: &Record<'_>) -> Result<(), Failure> {
    let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
    let kind = ControlRecordType::from_key(key).map_err(|error| Failure::kafka(error.to_string()))?;
    match kind {
        ControlRecordType::Abort | ControlRecordType::Commit => {
            let name = if kind == ControlRecordType::Commit { "COMMIT" } else { "ABORT" };
            let epoch = records::parse_end_transaction_marker(value);
            let epoch = epoch.map_err(|error| Failure::kafka(error.to_string()))?;
            write!(out, " endTxnMarker: {name} coordinatorEpoch: {epoch}")?;
        }
        ControlRecordType::LeaderChange => write!(out, " LeaderChange: {}", decoders::leader_change(value)?)?,
        ControlRecordType::SnapshotHeader => {
            write!(out, " SnapshotHeader {}", decoders::snapshot_header(value)?)?
        }
        ControlRecordType::SnapshotFooter => {
            write!(out, " SnapshotFooter {}", decoders::snapshot_footer(value)?)?
        }
        ControlRecordType::KraftVersion => write!(out, " KRaftVersion {}", decoders::kraft_version(value)?)?,
        ControlRecordType::KraftVoters => write!(out, " KRaftVoters {}", decoders::voters(value)?)?,
        ControlRecordType::Unknown(number) => write!(out, " controlType: UNKNOWN({number})")?,
        _ => write!(out, " controlType: UNKNOWN")?,
    }
    Ok(())
}
