//! Which nodes there are: each says every now and then that it is alive, in a topic that all follow.
//!
//! Silence is counted in one's own signs of life that came back through the log, not in time: a node that cannot reach
//! the log, or reads it late, takes nobody for dead.

use std::sync::Arc;

use hashbrown::HashMap;

/// Signs of life of our own without one of the other's.
const SILENCE: u64 = 8;

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Which run of the node it was.
    life: u64,
    /// After how many signs of our own.
    at: u64,
    gone: bool,
}

/// What a record meant for this node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// Nothing.
    Nothing,
    /// Its own sign of life came back.
    Beat,
    /// Another has its name, or took its place.
    Replaced,
}

/// The nodes that were heard of.
#[derive(Debug)]
pub(crate) struct Members {
    me: Arc<str>,
    life: u64,
    beats: u64,
    seen: HashMap<Arc<str>, Seen>,
}

impl Members {
    /// `life` tells this run of the node from others.
    pub(crate) fn new(me: Arc<str>, life: u64) -> Self {
        Self { me, life, beats: 0, seen: HashMap::new() }
    }

    /// A record: a sign of life, or that the node is gone.
    pub(crate) fn apply(&mut self, node: &Arc<str>, life: Option<u64>) -> Own {
        if *node == self.me {
            // Before the first sign came back it is about an earlier run.
            return match life {
                Some(life) if life == self.life => {
                    self.beats += 1;
                    Own::Beat
                }
                _ if self.beats > 0 => Own::Replaced,
                _ => Own::Nothing,
            };
        }
        let at = self.beats;
        match (self.seen.get_mut(node), life) {
            (Some(seen), None) => seen.gone = true,
            // What it wrote before it was gone comes late.
            (Some(seen), Some(life)) if seen.gone && seen.life == life => {}
            (Some(seen), Some(life)) => *seen = Seen { life, at, gone: false },
            (None, life) => {
                let gone = life.is_none();
                self.seen.insert(node.clone(), Seen { life: life.unwrap_or(0), at, gone });
            }
        }
        Own::Nothing
    }

    /// The node was met elsewhere in the log; `gone` when it is known that it gives no sign any more.
    pub(crate) fn meet(&mut self, node: &Arc<str>, gone: bool) {
        if *node != self.me {
            let at = self.beats;
            self.seen.entry(node.clone()).or_insert(Seen { life: 0, at, gone });
        }
    }

    /// Whether somebody has to look after what it left.
    pub(crate) fn is_dead(&self, node: &str) -> bool {
        *node != *self.me
            && self.seen.get(node).is_some_and(|s| s.gone || self.beats.saturating_sub(s.at) >= SILENCE)
    }

    /// Whether this node is the one to do what one of the living does.
    pub(crate) fn is_first(&self) -> bool {
        !self.seen.keys().any(|node| **node < *self.me && !self.is_dead(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> (Members, Arc<str>, Arc<str>, Arc<str>) {
        (Members::new("m".into(), 1), "m".into(), "a".into(), "z".into())
    }

    #[test]
    fn silence_counts_only_while_ones_own_voice_is_heard() {
        let (mut m, me, a, z) = members();
        m.apply(&a, Some(7));
        m.apply(&z, Some(8));
        assert!(!m.is_first() && !m.is_dead("a"));
        for _ in 0..SILENCE {
            assert!(!m.is_dead("a"));
            assert_eq!(m.apply(&me, Some(1)), Own::Beat);
            m.apply(&z, Some(8));
        }
        assert!(m.is_dead("a") && !m.is_dead("z") && !m.is_dead("m") && m.is_first());
        m.apply(&a, Some(7));
        assert!(!m.is_dead("a") && !m.is_first());
    }

    #[test]
    fn who_is_gone_comes_back_with_another_life_only() {
        let (mut m, _, a, _) = members();
        m.apply(&a, Some(7));
        m.apply(&a, None);
        assert!(m.is_dead("a"));
        m.apply(&a, Some(7));
        assert!(m.is_dead("a"));
        m.apply(&a, Some(9));
        assert!(!m.is_dead("a"));
    }

    #[test]
    fn who_was_met_without_a_sign_has_its_time() {
        let (mut m, me, a, z) = members();
        m.meet(&a, false);
        m.meet(&z, true);
        assert!(!m.is_dead("a") && m.is_dead("z"));
        (0..SILENCE).for_each(|_| assert_eq!(m.apply(&me, Some(1)), Own::Beat));
        assert!(m.is_dead("a"));
    }

    #[test]
    fn another_under_the_own_name_is_noticed() {
        let (mut m, me, ..) = members();
        assert_eq!(m.apply(&me, Some(5)), Own::Nothing);
        assert_eq!(m.apply(&me, None), Own::Nothing);
        assert_eq!(m.apply(&me, Some(1)), Own::Beat);
        assert_eq!(m.apply(&me, Some(5)), Own::Replaced);
        assert_eq!(m.apply(&me, None), Own::Replaced);
    }
}
