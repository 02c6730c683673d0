//! Which partition a record goes to: Kafka's default, and the balancers that other clients made customary.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// What a partitioner knows of a record and its topic.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Key, if any.
    pub key: Option<&'a [u8]>,
    /// Value, if any.
    pub value: Option<&'a [u8]>,
    /// Partition count of the topic, at least 1.
    pub partitions: i32,
    /// Partitions that have a leader now, ascending; may be empty.
    pub available: &'a [i32],
}

/// Chooses a partition for each record that does not name one.
///
/// Called once per record on the caller's task: be quick, never block.
pub trait Partitioner: Send + Sync + fmt::Debug {
    /// The partition, `0..choice.partitions`, or `None` to leave it to the sticky choice of the producer
    /// (all such records go to one partition until its batch is full). An answer out of range is an error
    /// of the send.
    fn partition(&self, choice: &Choice<'_>) -> Option<i32>;
}

/// The partitioners that come with the client, by `partitioner.class` or librdkafka's `partitioner`.
///
/// Each chooses the very partitions that its original does; what the original draws at random is drawn at random
/// here, or left to the sticky choice where the original does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PartitionerKind {
    /// Kafka's: murmur2 of the key; sticky without key. Also librdkafka's `murmur2_random`.
    #[default]
    Default,
    /// Kafka's `RoundRobinPartitioner`, kafka-go's `RoundRobin`: every record to the next partition, keys or not.
    RoundRobin,
    /// Kafka's `UniformStickyPartitioner`: one partition until its batch is full, keys or not.
    UniformSticky,
    /// FNV-1a of the key as in kafka-go's `Hash` and Sarama's hash partitioner; round-robin without key.
    Hash,
    /// FNV-1a of the key as in kafka-go's `ReferenceHash` and Sarama's reference partitioner; round-robin without key.
    ReferenceHash,
    /// FNV-1a of the key as librdkafka's `fnv1a`; all records without key to one partition.
    Fnv1a,
    /// FNV-1a of the key as librdkafka's `fnv1a_random`; sticky without key.
    Fnv1aRandom,
    /// CRC-32 of the key as librdkafka's `consistent_random`, its default, and kafka-go's `CRC32Balancer`; sticky
    /// without key or with an empty one.
    Crc32,
    /// CRC-32 of the key as librdkafka's `consistent`; all records without key to one partition.
    Crc32Consistent,
    /// Murmur2 of the key as librdkafka's `murmur2` and kafka-go's consistent `Murmur2Balancer`; all records without
    /// key to one partition.
    Murmur2Consistent,
    /// The partition that got the fewest bytes so far, as kafka-go's `LeastBytes`.
    LeastBytes,
    /// Random, keys or not.
    Random,
}

impl PartitionerKind {
    /// Reads a class name of Kafka, a balancer's name of kafka-go or a partitioner's of librdkafka.
    pub fn from_name(name: &str) -> Option<Self> {
        let short = name.rsplit('.').next().unwrap_or(name);
        Some(match short {
            "default" | "murmur2_random" | "Murmur2Balancer" | "DefaultPartitioner" => Self::Default,
            "murmur2" => Self::Murmur2Consistent,
            "round-robin" | "roundrobin" | "round_robin" | "RoundRobin" | "RoundRobinPartitioner" => {
                Self::RoundRobin
            }
            "sticky" | "uniform" | "UniformStickyPartitioner" => Self::UniformSticky,
            "hash" | "Hash" => Self::Hash,
            "reference-hash" | "reference_hash" | "ReferenceHash" => Self::ReferenceHash,
            "fnv1a" => Self::Fnv1a,
            "fnv1a_random" => Self::Fnv1aRandom,
            "crc32" | "consistent_random" | "CRC32Balancer" => Self::Crc32,
            "consistent" => Self::Crc32Consistent,
            "least-bytes" | "leastbytes" | "least_bytes" | "LeastBytes" => Self::LeastBytes,
            "random" => Self::Random,
            _ => return None,
        })
    }

    /// Makes the partitioner.
    pub fn build(self) -> Arc<dyn Partitioner> {
        match self {
            Self::Default => Arc::new(Hashed { hash: murmur2_positive, keyless: Keyless::Sticky }),
            Self::Murmur2Consistent => Arc::new(Hashed { hash: murmur2_positive, keyless: Keyless::AsEmpty }),
            Self::Fnv1a => Arc::new(Hashed { hash: fnv1a_absolute, keyless: Keyless::AsEmpty }),
            Self::Fnv1aRandom => Arc::new(Hashed { hash: fnv1a_absolute, keyless: Keyless::Sticky }),
            Self::Crc32Consistent => Arc::new(Hashed { hash: crc32_ieee, keyless: Keyless::AsEmpty }),
            Self::Crc32 => Arc::new(Hashed { hash: crc32_ieee, keyless: Keyless::StickyAlsoEmpty }),
            Self::Hash => Arc::new(HashOrNext { hash: fnv1a_absolute, keyless: RoundRobin::default() }),
            Self::ReferenceHash => {
                Arc::new(HashOrNext { hash: fnv1a_positive, keyless: RoundRobin::default() })
            }
            Self::RoundRobin => Arc::new(RoundRobin::default()),
            Self::UniformSticky => Arc::new(UniformSticky),
            Self::LeastBytes => Arc::new(LeastBytes::default()),
            Self::Random => Arc::new(Random),
        }
    }
}

/// Makes a partitioner of a closure.
///
/// ```
/// use client::producer::{Choice, partitioner::from_fn};
/// // Big records apart from the others.
/// let by_size = from_fn(|choice: &Choice<'_>| Some(i32::from(choice.value.is_some_and(|v| v.len() > 1000))));
/// ```
pub fn from_fn<F>(choose: F) -> Arc<dyn Partitioner>
where
    F: Fn(&Choice<'_>) -> Option<i32> + Send + Sync + 'static,
{
    Arc::new(Closure(choose))
}

struct Closure<F>(F);

impl<F> fmt::Debug for Closure<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closure")
    }
}

impl<F: Fn(&Choice<'_>) -> Option<i32> + Send + Sync> Partitioner for Closure<F> {
    fn partition(&self, choice: &Choice<'_>) -> Option<i32> {
        (self.0)(choice)
    }
}

/// What happens to records without key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyless {
    /// The producer's sticky choice.
    Sticky,
    /// The same, and for records with an empty key too.
    StickyAlsoEmpty,
    /// As with an empty key.
    AsEmpty,
}

/// A hash of the key, modulo the partitions.
#[derive(Debug)]
struct Hashed {
    hash: fn(&[u8]) -> u32,
    keyless: Keyless,
}

impl Partitioner for Hashed {
    fn partition(&self, choice: &Choice<'_>) -> Option<i32> {
        let key = match (choice.key, self.keyless) {
            (Some([]), Keyless::StickyAlsoEmpty) => return None,
            (Some(key), _) => key,
            (None, Keyless::AsEmpty) => &[],
            (None, _) => return None,
        };
        i32::try_from((self.hash)(key) % choice.partitions.unsigned_abs().max(1)).ok()
    }
}

/// A hash of the key; the next partition without key.
#[derive(Debug)]
struct HashOrNext {
    hash: fn(&[u8]) -> u32,
    keyless: RoundRobin,
}

impl Partitioner for HashOrNext {
    fn partition(&self, choice: &Choice<'_>) -> Option<i32> {
        let Some(key) = choice.key else { return Some(self.keyless.next(choice)) };
        i32::try_from((self.hash)(key) % choice.partitions.unsigned_abs().max(1)).ok()
    }
}

fn murmur2_positive(key: &[u8]) -> u32 {
    crate::door::murmur2(key) & 0x7fff_ffff
}

/// FNV-1a, 32 bit.
fn fnv1a(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// FNV-1a as a signed number without its sign.
fn fnv1a_absolute(key: &[u8]) -> u32 {
    fnv1a(key).cast_signed().unsigned_abs()
}

/// FNV-1a without its highest bit.
fn fnv1a_positive(key: &[u8]) -> u32 {
    fnv1a(key) & 0x7fff_ffff
}

/// Never its own choice.
#[derive(Debug)]
struct UniformSticky;

impl Partitioner for UniformSticky {
    fn partition(&self, _: &Choice<'_>) -> Option<i32> {
        None
    }
}

/// Counters per topic. Topics come from the caller's own records, so their number is the caller's affair.
#[derive(Debug, Default)]
struct RoundRobin {
    next: Mutex<HashMap<String, AtomicU32>>,
}

impl RoundRobin {
    fn next(&self, choice: &Choice<'_>) -> i32 {
        let mut next = self.next.lock();
        let turn = match next.get(choice.topic) {
            Some(counter) => counter.fetch_add(1, Ordering::Relaxed),
            None => {
                next.insert(choice.topic.to_owned(), AtomicU32::new(1));
                0
            }
        };
        let among = if choice.available.is_empty() {
            choice.partitions.unsigned_abs().max(1)
        } else {
            u32::try_from(choice.available.len()).unwrap_or(u32::MAX)
        };
        let index = (turn & 0x7fff_ffff) % among;
        let fallback = i32::try_from(index).unwrap_or_default();
        usize::try_from(index).ok().and_then(|i| choice.available.get(i)).copied().unwrap_or(fallback)
    }
}

impl Partitioner for RoundRobin {
    fn partition(&self, choice: &Choice<'_>) -> Option<i32> {
        Some(self.next(choice))
    }
}

/// CRC-32 (IEEE). Bit by bit: keys are short, and a table for one rare partitioner is not worth its cache lines.
fn crc32_ieee(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Bytes handed to each partition so far, by topic.
#[derive(Debug, Default)]
struct LeastBytes {
    sent: Mutex<HashMap<String, Vec<u64>>>,
}

impl Partitioner for LeastBytes {
    fn partition(&self, choice: &Choice<'_>) -> Option<i32> {
        let size = choice.key.map_or(0, <[u8]>::len) + choice.value.map_or(0, <[u8]>::len);
        let mut sent = self.sent.lock();
        if !sent.contains_key(choice.topic) {
            sent.insert(choice.topic.to_owned(), Vec::new());
        }
        let counts = sent.get_mut(choice.topic)?;
        counts.resize(usize::try_from(choice.partitions).unwrap_or(1).max(1), 0);
        let usable = |index: &usize| {
            choice.available.is_empty()
                || i32::try_from(*index).is_ok_and(|i| choice.available.binary_search(&i).is_ok())
        };
        let index = (0..counts.len())
            .filter(usable)
            .min_by_key(|&i| counts.get(i).copied().unwrap_or(u64::MAX))
            .unwrap_or(0);
        if let Some(count) = counts.get_mut(index) {
            *count = count.saturating_add(size as u64);
        }
        i32::try_from(index).ok()
    }
}

/// Uniform over the partitions that have a leader.
#[derive(Debug)]
struct Random;

impl Partitioner for Random {
    fn partition(&self, choice: &Choice<'_>) -> Option<i32> {
        Some(random_partition(choice))
    }
}

/// A random partition, among those with a leader if there are any.
pub(super) fn random_partition(choice: &Choice<'_>) -> i32 {
    let random = getrandom::u32().unwrap_or_default();
    let among = if choice.available.is_empty() {
        choice.partitions.unsigned_abs().max(1)
    } else {
        u32::try_from(choice.available.len()).unwrap_or(u32::MAX)
    };
    let index = random % among;
    let fallback = i32::try_from(index).unwrap_or_default();
    usize::try_from(index).ok().and_then(|i| choice.available.get(i)).copied().unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partitions by kind, for the keys of [`hashes_choose_as_their_originals_do`].
    const ORIGINALS: &[(PartitionerKind, [i32; 7])] = &[
        (PartitionerKind::Hash, [3, 0, 0, 0, 4, 5, 1]),
        (PartitionerKind::Fnv1a, [3, 0, 0, 0, 4, 5, 1]),
        (PartitionerKind::Fnv1aRandom, [3, 0, 0, 0, 4, 5, 1]),
        (PartitionerKind::ReferenceHash, [5, 8, 8, 8, 4, 3, 7]),
        (PartitionerKind::Crc32Consistent, [0, 3, 5, 4, 6, 7, 0]),
        (PartitionerKind::Crc32, [-1, 3, 5, 4, 6, 7, 0]),
        (PartitionerKind::Murmur2Consistent, [9, 4, 6, 0, 8, 1, 7]),
        (PartitionerKind::Default, [9, 4, 6, 0, 8, 1, 7]),
    ];

    fn choose(kind: PartitionerKind, keys: &[Option<&str>], partitions: i32) -> Vec<Option<i32>> {
        let partitioner = kind.build();
        let all: Vec<i32> = (0..partitions).collect();
        keys.iter()
            .map(|key| {
                partitioner.partition(&Choice {
                    topic: "t",
                    key: key.map(str::as_bytes),
                    value: Some(b"12345"),
                    partitions,
                    available: &all,
                })
            })
            .collect()
    }

    /// Vectors of `org.apache.kafka.common.utils.UtilsTest.testMurmur2`, as partitions of 2^31 - 1.
    #[test]
    fn default_is_javas_murmur2() {
        let java = [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in java {
            assert_eq!(crate::door::murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
            let expected = (hash & 0x7fff_ffff) % 12;
            assert_eq!(choose(PartitionerKind::Default, &[Some(key)], 12), [Some(expected)], "{key}");
        }
        assert_eq!(choose(PartitionerKind::Default, &[None], 12), [None]);
    }

    #[test]
    fn crc32_is_the_ieee_checksum() {
        assert_eq!(crc32_ieee(b"123456789"), 0xcbf4_3926);
        let expected = i32::try_from(0xcbf4_3926_u32 % 7).unwrap();
        assert_eq!(
            choose(PartitionerKind::Crc32, &[Some("123456789"), None, Some("")], 7),
            [Some(expected), None, None]
        );
    }

    /// What kafka-go 0.4.51 answered for these keys and 12 partitions (librdkafka's formulas are the same).
    #[test]
    fn hashes_choose_as_their_originals_do() {
        let keys = ["", "a", "foobar", "21", "a-little-bit-long-string", "sensors/1/temp", "\u{e4}\u{f6}"];
        for (kind, expected) in ORIGINALS {
            let choices = choose(*kind, &keys.map(Some), 12);
            let got: Vec<i32> = choices.into_iter().map(|choice| choice.unwrap_or(-1)).collect();
            assert_eq!(got, expected, "{kind:?}");
        }
    }

    #[test]
    fn records_without_key_go_where_the_originals_send_them() {
        let none = |kind| choose(kind, &[None, None], 12);
        for kind in [
            PartitionerKind::Default,
            PartitionerKind::Fnv1aRandom,
            PartitionerKind::Crc32,
            PartitionerKind::UniformSticky,
        ] {
            assert_eq!(none(kind), [None, None], "{kind:?} is sticky");
        }
        for kind in
            [PartitionerKind::Murmur2Consistent, PartitionerKind::Fnv1a, PartitionerKind::Crc32Consistent]
        {
            assert_eq!(
                none(kind),
                choose(kind, &[Some(""), Some("")], 12),
                "{kind:?} takes no key for an empty one"
            );
        }
        for kind in [PartitionerKind::Hash, PartitionerKind::ReferenceHash] {
            assert_eq!(none(kind), [Some(0), Some(1)], "{kind:?} takes turns");
        }
        assert_eq!(choose(PartitionerKind::UniformSticky, &[Some("key")], 12), [None]);
    }

    #[test]
    fn closures_are_partitioners() {
        let by_length = from_fn(|choice| choice.key.and_then(|key| i32::try_from(key.len()).ok()));
        let choice = Choice { topic: "t", key: Some(b"abc"), value: None, partitions: 9, available: &[] };
        assert_eq!(by_length.partition(&choice), Some(3));
    }

    #[test]
    fn hash_is_fnv1a_and_deals_keyless_records_round() {
        // FNV-1a("a") = 0xe40c292c, FNV-1a("foobar") = 0xbf9cf968: both negative as signed numbers.
        let signed = |h: u32| (h.cast_signed() % 5).abs();
        assert_eq!(
            choose(PartitionerKind::Hash, &[Some("a"), Some("foobar"), None, None, None], 5),
            [Some(signed(0xe40c_292c)), Some(signed(0xbf9c_f968)), Some(0), Some(1), Some(2)]
        );
    }

    #[test]
    fn round_robin_visits_every_available_partition() {
        assert_eq!(
            choose(PartitionerKind::RoundRobin, &[Some("k"); 5], 3),
            [Some(0), Some(1), Some(2), Some(0), Some(1)]
        );
        let partitioner = PartitionerKind::RoundRobin.build();
        let choice = Choice { topic: "t", key: None, value: None, partitions: 4, available: &[1, 3] };
        let got: Vec<_> = (0..4).map(|_| partitioner.partition(&choice)).collect();
        assert_eq!(got, [Some(1), Some(3), Some(1), Some(3)]);
    }

    #[test]
    fn least_bytes_levels_the_partitions() {
        let partitioner = PartitionerKind::LeastBytes.build();
        let mut bytes = [0usize; 3];
        for size in [900, 10, 20, 300, 1, 1, 500, 40, 40, 7] {
            let value = vec![0; size];
            let choice =
                Choice { topic: "t", key: None, value: Some(&value), partitions: 3, available: &[0, 1, 2] };
            let partition = partitioner.partition(&choice).unwrap();
            let least = *bytes.iter().min().unwrap();
            assert_eq!(bytes[partition as usize], least, "goes where the fewest bytes are");
            bytes[partition as usize] += size;
        }
    }

    #[test]
    fn random_stays_among_the_available() {
        let partitioner = PartitionerKind::Random.build();
        for _ in 0..100 {
            let choice = Choice { topic: "t", key: None, value: None, partitions: 9, available: &[2, 8] };
            assert!(matches!(partitioner.partition(&choice), Some(2 | 8)));
        }
    }
}
