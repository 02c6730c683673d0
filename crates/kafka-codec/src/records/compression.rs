//! Kafka's four codecs, each with the framing that Kafka's own clients write and all that they read.

use std::io::{Read, Write};
use std::str::FromStr;

use super::batch::{COMPRESSION_BITS, put_header, seal};
use super::lz4::Lz4Error;
use super::{BATCH_HEADER_BYTES, Batch, BatchHeader, RecordError};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952), any number of members.
    Gzip,
    /// Snappy in blocks of 32 KiB with the header of xerial's SnappyOutputStream; raw Snappy is read too.
    Snappy,
    /// LZ4 frames: independent blocks of 64 KiB without checksums; any legal frame is read.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

impl Compression {
    /// The codec with this number in a batch's attributes.
    ///
    /// # Errors
    /// [`RecordError::UnknownCompression`].
    pub fn from_id(id: u8) -> Result<Self, RecordError> {
        Ok(match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return Err(RecordError::UnknownCompression(id)),
        })
    }

    /// Its number in a batch's attributes.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    /// Reads Kafka's name (`compression.type`).
    fn from_str(name: &str) -> Result<Self, String> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|c| c.name() == name)
            .ok_or_else(|| format!("unknown compression {name:?}: none, gzip, snappy, lz4 or zstd expected"))
    }
}

/// What xerial's SnappyOutputStream begins with, followed by its version and the oldest compatible one.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\x00";
const XERIAL_HEADER_BYTES: usize = 16;
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Three bytes of Snappy can stand for 64 at most.
const SNAPPY_RATIO_MAX: usize = 22;

/// Appends `input`, compressed, to `out`. `level`: the codec's own scale (gzip 1 to 9, zstd -131072 to 22; lz4 and
/// snappy have none here), `None` = its default.
///
/// # Errors
/// [`RecordError::Unrepresentable`] when the codec refuses (a level outside its scale, say).
pub fn compress(
    codec: Compression,
    level: Option<i32>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let refused = |_| RecordError::Unrepresentable("the codec refused the input or the level");
    match codec {
        Compression::None => out.extend_from_slice(input),
        Compression::Gzip => {
            let level = match level {
                None => flate2::Compression::default(),
                Some(level @ 0..=9) => flate2::Compression::new(level as u32),
                Some(_) => return Err(RecordError::Unrepresentable("a gzip level outside 0 to 9")),
            };
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(input).map_err(refused)?;
            encoder.finish().map_err(refused)?;
        }
        Compression::Snappy => compress_xerial(input, out)?,
        Compression::Lz4 => {
            let frame = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, out);
            encoder.write_all(input).map_err(refused)?;
            encoder.finish().map_err(|_| RecordError::Unrepresentable("the codec refused the input"))?;
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, level.unwrap_or(0)).map_err(refused)?;
            encoder.write_all(input).map_err(refused)?;
            encoder.finish().map_err(refused)?;
        }
    }
    Ok(())
}

/// The same batch, its records compressed by `codec` (for a topic's `compression.type`).
///
/// # Errors
/// Those of [`decompress`] and [`compress`].
pub fn recompress(
    batch: &Batch<'_>,
    codec: Compression,
    level: Option<i32>,
    bytes_max: usize,
    scratch: &mut Vec<u8>,
) -> Result<Vec<u8>, RecordError> {
    let records = match batch.header.compression()? {
        Compression::None => batch.payload(),
        before => {
            decompress(before, batch.payload(), bytes_max, scratch)?;
            scratch.as_slice()
        }
    };
    let mut out = Vec::with_capacity(BATCH_HEADER_BYTES + records.len() / 2);
    let attributes = batch.header.attributes & !COMPRESSION_BITS | i16::from(codec.id());
    put_header(&mut out, &BatchHeader { attributes, ..batch.header });
    compress(codec, level, records, &mut out)?;
    seal(&mut out)?;
    Ok(out)
}

fn compress_xerial(input: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder
            .compress_vec(block)
            .map_err(|_| RecordError::Unrepresentable("the codec refused the input"))?;
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

/// Replaces the content of `out` by `input`, decompressed, and stops as soon as that would be more than
/// `bytes_max`. Memory grows with what really comes out, not with what the input claims.
///
/// # Errors
/// [`RecordError::Decompression`], [`RecordError::DecompressedTooLarge`].
pub fn decompress(
    codec: Compression,
    input: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    out.clear();
    match codec {
        Compression::None if input.len() > bytes_max => {
            Err(RecordError::DecompressedTooLarge { max: bytes_max })
        }
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => drain(codec, flate2::read::MultiGzDecoder::new(input), bytes_max, out),
        Compression::Snappy => match input.strip_prefix(XERIAL_MAGIC) {
            Some(_) => decompress_xerial(input.get(XERIAL_HEADER_BYTES..), bytes_max, out),
            None => decompress_snappy(input, bytes_max, out),
        },
        Compression::Lz4 => super::lz4::decompress(input, bytes_max, out).map_err(|e| match e {
            Lz4Error::Corrupt(why) => corrupt(codec, why.to_owned()),
            Lz4Error::TooLarge => RecordError::DecompressedTooLarge { max: bytes_max },
        }),
        Compression::Zstd => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(input).map_err(|e| corrupt(codec, e.to_string()))?;
            drain(codec, decoder, bytes_max, out)
        }
    }
}

fn corrupt(codec: Compression, why: String) -> RecordError {
    RecordError::Decompression { codec: codec.name(), why }
}

/// Reads all that `decoder` gives, up to the limit.
fn drain(
    codec: Compression,
    decoder: impl Read,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let limit = (bytes_max as u64).saturating_add(1);
    let read = decoder.take(limit).read_to_end(out).map_err(|e| corrupt(codec, e.to_string()))?;
    if read > bytes_max {
        return Err(RecordError::DecompressedTooLarge { max: bytes_max });
    }
    Ok(())
}

fn decompress_xerial(blocks: Option<&[u8]>, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let cut = || corrupt(Compression::Snappy, "cut off".to_owned());
    let mut rest = blocks.ok_or_else(cut)?;
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (block, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
        decompress_snappy(block, bytes_max, out)?;
        rest = tail;
    }
    Ok(())
}

/// Appends one raw Snappy block.
fn decompress_snappy(block: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let wrong = |e: snap::Error| corrupt(Compression::Snappy, e.to_string());
    let length = snap::raw::decompress_len(block).map_err(wrong)?;
    if length > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(corrupt(
            Compression::Snappy,
            format!("{length} bytes claimed by a block of {}", block.len()),
        ));
    }
    let before = out.len();
    if length > bytes_max.saturating_sub(before) {
        return Err(RecordError::DecompressedTooLarge { max: bytes_max });
    }
    out.resize(before + length, 0);
    let target = out.get_mut(before..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, target).map_err(wrong)?;
    Ok(())
}
