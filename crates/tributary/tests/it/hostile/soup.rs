//! Random bytes that decoders like, and requests made of them.

use std::ops::RangeInclusive;

use bytes::Bytes;
use kafka_codec::messages::{Visitor, visit_all};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, Message};

/// A small deterministic generator.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `below`.
    pub fn below(&mut self, below: usize) -> usize {
        ((self.next() >> 16) % below.max(1) as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of them.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub fn byte(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }
}

/// Names that requests hit upon again and again.
const NAMES: [&str; 10] = ["a", "b", "c", "g", "t", "x", "soup", "range", "consumer", "__consumer_offsets"];
/// Numbers at which things break.
const EDGES: [i64; 12] =
    [0, 1, -1, -2, 127, 0x7fff, 0xffff, 0x7fff_ffff, -0x8000_0000, 0x1_0000_0000, i64::MAX, i64::MIN];

/// Bytes that look like fields: short texts with their lengths, small counts, extreme numbers.
pub fn soup(dice: &mut Dice, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 16);
    while out.len() < size {
        let name = *dice.one(&NAMES);
        match dice.below(12) {
            0 | 1 => {
                out.extend((name.len() as i16).to_be_bytes());
                out.extend(name.as_bytes());
            }
            2 | 3 => {
                out.push(name.len() as u8 + 1);
                out.extend(name.as_bytes());
            }
            4 => out.extend((dice.below(3) as i32).to_be_bytes()),
            5 => out.extend((dice.below(3) as i16).to_be_bytes()),
            6 => out.extend(dice.one(&EDGES).to_be_bytes()),
            7 => out.extend((*dice.one(&EDGES) as i32).to_be_bytes()),
            8 => out.extend([0, 0]),
            9 => out.push(dice.byte()),
            _ => out.push(dice.below(4) as u8),
        }
    }
    out
}

/// One API in the versions that there are of it.
#[derive(Clone, Debug)]
pub struct Api {
    pub key: ApiKey,
    pub versions: RangeInclusive<i16>,
    make: fn(&mut Dice, i16) -> Option<Vec<u8>>,
}

impl Api {
    /// The body of a valid request.
    pub fn body(&self, dice: &mut Dice, version: i16) -> Vec<u8> {
        (self.make)(dice, version).unwrap_or_default()
    }
}

/// Reads requests out of soup until one is whole: it is valid then, whatever it asks for.
fn make<M: Message>(dice: &mut Dice, version: i16) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for _ in 0..60 {
        let size = 40 + dice.below(400);
        let bytes = Bytes::from(soup(dice, size));
        let Ok(message) = M::decode(&mut Reader::shared(&bytes), version) else { continue };
        body.clear();
        if message.encode(&mut body, version).is_ok() {
            return Some(body);
        }
    }
    body.clear();
    M::default().encode(&mut body, version).is_ok().then_some(body)
}

/// Every request there is.
pub fn apis() -> Vec<Api> {
    struct Requests(Vec<Api>);
    impl Visitor for Requests {
        fn visit<M: Message>(&mut self) {
            let key = (0..200)
                .filter_map(ApiKey::from_i16)
                .find(|key| M::NAME.strip_suffix("Request").is_some_and(|name| key.name() == name));
            if let Some(key) = key {
                self.0.push(Api { key, versions: M::VERSIONS, make: make::<M> });
            }
        }
    }
    let mut requests = Requests(Vec::new());
    visit_all(&mut requests);
    assert!(requests.0.len() > 60, "only {} kinds of requests", requests.0.len());
    requests.0
}

/// Breaks bytes in one to four places.
pub fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let more = soup(dice, 8);
                bytes.splice(at..at, more);
            }
            2 => overwrite(bytes, at, &(*dice.one(&EDGES) as i32).to_be_bytes()),
            3 => overwrite(bytes, at, &dice.one(&EDGES).to_be_bytes()),
            // A compact length of 2^31 - 1, or more.
            4 => overwrite(bytes, at, &[0xff, 0xff, 0xff, 0xff, *dice.one(&[0x07, 0xff])]),
            5 => overwrite(bytes, at, &[0x7f, 0xff, 0xff, 0xff]),
            _ => {
                let byte = dice.byte();
                overwrite(bytes, at, &[byte]);
            }
        }
        if bytes.is_empty() {
            return;
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(with) {
        *to = *from;
    }
}
