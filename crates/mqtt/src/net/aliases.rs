//! Topic aliases towards the client: names it has heard on this connection are sent to it as numbers.

use std::hash::BuildHasher;

use bytes::Bytes;

/// Names that are no longer than the property that would stand for them.
const SHORT: usize = 3;

/// A place for each number; names that meet in one take turns.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    places: Vec<Bytes>,
    count: u16,
    hasher: rapidhash::fast::RandomState,
}

/// How a topic is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// By its name.
    None,
    /// By its name, which this number stands for from now on.
    New(u16),
    /// By the number.
    Known(u16),
}

impl Alias {
    /// The number, if there is one.
    pub(crate) fn number(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::New(n) | Self::Known(n) => Some(n),
        }
    }
}

impl Aliases {
    /// For a client that takes numbers up to `count`.
    pub(crate) fn new(count: u16) -> Self {
        Self { count, ..Self::default() }
    }

    fn place(&self, topic: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(topic) as usize;
        (self.count > 0 && topic.len() > SHORT).then(|| hash % usize::from(self.count))
    }

    /// How a topic would be sent now.
    pub(crate) fn of(&self, topic: &[u8]) -> Alias {
        let Some(place) = self.place(topic) else { return Alias::None };
        let number = u16::try_from(place + 1).unwrap_or(u16::MAX);
        let known = self.places.get(place).is_some_and(|known| *known == topic);
        if known { Alias::Known(number) } else { Alias::New(number) }
    }

    /// It was sent so.
    pub(crate) fn sent(&mut self, topic: &[u8], alias: Alias) {
        if let (Alias::New(_), Some(place)) = (alias, self.place(topic)) {
            if self.places.is_empty() {
                self.places.resize(usize::from(self.count), Bytes::new());
            }
            if let Some(known) = self.places.get_mut(place) {
                *known = Bytes::copy_from_slice(topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_sent_once_and_again_when_another_took_its_number() {
        let mut aliases = Aliases::new(1);
        assert_eq!(aliases.of(b"topic/a"), Alias::New(1));
        // Not sent after all.
        assert_eq!(aliases.of(b"topic/a"), Alias::New(1));
        aliases.sent(b"topic/a", Alias::New(1));
        assert_eq!(aliases.of(b"topic/a"), Alias::Known(1));
        aliases.sent(b"topic/b", aliases.of(b"topic/b"));
        assert_eq!(aliases.of(b"topic/a"), Alias::New(1));
        assert_eq!(aliases.of(b"topic/b"), Alias::Known(1));
        assert_eq!(aliases.of(b"abc"), Alias::None);
        assert_eq!(Aliases::new(0).of(b"topic/a"), Alias::None);
    }

    #[test]
    fn numbers_stay_within_what_the_client_takes() {
        let aliases = Aliases::new(7);
        for n in 0..1000 {
            let number = aliases.of(format!("topic/{n}").as_bytes()).number().unwrap();
            assert!((1..=7).contains(&number));
        }
    }
}
