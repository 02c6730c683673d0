//! Record batches that are wrong in one way each.

use std::sync::LazyLock;

use kafka_codec::records::{BATCH_HEADER_BYTES, BatchBuilder, Compression, compress};

use super::soup::{Dice, mutate, soup};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
/// Places of a batch's fields.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_DELTA_AT: usize = 23;
const PRODUCER_AT: usize = 43;
const SEQUENCE_AT: usize = 53;
const COUNT_AT: usize = 57;
/// What a bomb unpacks to: more than a broker may take.
const BOMB_BYTES: usize = 80 << 20;
/// The length of a record of 2^28 bytes.
const HUGE_RECORD: [u8; 5] = [0x80, 0x80, 0x80, 0x80, 0x02];

/// A good batch.
fn good(dice: &mut Dice) -> Vec<u8> {
    let mut builder = BatchBuilder::new(*dice.one(&CODECS));
    if dice.once_in(3) {
        builder = builder.producer(dice.below(20) as i64, dice.below(3) as i16, dice.below(10) as i32);
        if dice.once_in(2) {
            builder = builder.transactional();
        }
    }
    for _ in 0..1 + dice.below(5) {
        let value = soup(dice, 30);
        let key = dice.once_in(2).then(|| soup(dice, 5));
        builder.push(now_ms(), key.as_deref(), Some(&value), std::iter::empty()).expect("small");
    }
    builder.build().expect("small")
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

fn put(batch: &mut [u8], at: usize, value: &[u8]) {
    batch[at..at + value.len()].copy_from_slice(value);
}

/// Makes length and checksum right again, so that what else is wrong is looked at.
fn seal(batch: &mut [u8]) {
    let length = i32::try_from(batch.len() - LENGTH_AT - 4).expect("small");
    put(batch, LENGTH_AT, &length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    put(batch, CRC_AT, &crc.to_be_bytes());
}

/// Batches for one partition.
pub fn records(dice: &mut Dice) -> Vec<u8> {
    let mut batch = good(dice);
    match dice.below(16) {
        0 => put(&mut batch, CRC_AT, &[1, 2, 3, 4]),
        1 => {
            let count = *dice.one(&[0, -1, 2, 100, i32::MAX, i32::MIN]);
            put(&mut batch, COUNT_AT, &count.to_be_bytes());
            seal(&mut batch);
        }
        2 => {
            let delta = *dice.one(&[-1, 0, 7, i32::MAX, i32::MIN]);
            put(&mut batch, LAST_DELTA_AT, &delta.to_be_bytes());
            if dice.once_in(2) {
                put(&mut batch, COUNT_AT, &delta.wrapping_add(1).to_be_bytes());
            }
            seal(&mut batch);
        }
        3 => {
            // Codecs that are not there, control records, unknown bits.
            let attributes = dice.below(0x10000) as u16;
            put(&mut batch, ATTRIBUTES_AT, &attributes.to_be_bytes());
            seal(&mut batch);
        }
        4 => batch[MAGIC_AT] = *dice.one(&[0, 1, 3, 127, 255]),
        5 => {
            let length = *dice.one(&[0, -1, 13, 48, 49, 1 << 20, i32::MAX, i32::MIN]);
            put(&mut batch, LENGTH_AT, &length.to_be_bytes());
        }
        6 => {
            let at = dice.below(batch.len());
            batch.truncate(at);
        }
        7 => {
            // The records themselves, under a right checksum.
            let mut payload = batch.split_off(BATCH_HEADER_BYTES);
            mutate(dice, &mut payload);
            batch.extend(payload);
            seal(&mut batch);
        }
        8 => batch = bomb(dice),
        9 => {
            let (id, epoch) =
                (*dice.one(&[-2, i64::MIN, i64::MAX, 0, 5]), *dice.one(&[-1, 0, i16::MAX, i16::MIN]));
            put(&mut batch, PRODUCER_AT, &id.to_be_bytes());
            put(&mut batch, PRODUCER_AT + 8, &epoch.to_be_bytes());
            put(&mut batch, SEQUENCE_AT, &dice.one(&[-1, 0, 3, i32::MAX, i32::MIN]).to_be_bytes());
            seal(&mut batch);
        }
        10 => {
            let more = good(dice);
            batch.extend(more);
        }
        11 => batch = soup(dice, 200),
        12 => {
            mutate(dice, &mut batch);
            if batch.len() > COUNT_AT + 4 && dice.once_in(2) {
                seal(&mut batch);
            }
        }
        // Nobody minds a good one now and then.
        _ => {}
    }
    batch
}

/// A small batch whose records unpack to very much: to nothing but zeros, or to what begins like one whole record.
fn bomb(dice: &mut Dice) -> Vec<u8> {
    static BOMBS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let sizes = [BOMB_BYTES, BOMB_BYTES / 40];
        let each = sizes.into_iter().flat_map(|size| CODECS[1..].iter().map(move |codec| (*codec, size)));
        each.flat_map(|(codec, size)| [make_bomb(codec, size, &[]), make_bomb(codec, size, &HUGE_RECORD)])
            .collect()
    });
    dice.one(&BOMBS).clone()
}

fn make_bomb(codec: Compression, size: usize, start: &[u8]) -> Vec<u8> {
    let mut batch = BatchBuilder::new(codec);
    batch.push(now_ms(), None, Some(b"small"), std::iter::empty()).expect("small");
    let mut batch = batch.build().expect("small");
    batch.truncate(BATCH_HEADER_BYTES);
    let mut payload = vec![0; size];
    payload[..start.len()].copy_from_slice(start);
    let level = matches!(codec, Compression::Gzip | Compression::Zstd).then_some(1);
    compress(codec, level, &payload, &mut batch).expect("compresses");
    seal(&mut batch);
    batch
}
