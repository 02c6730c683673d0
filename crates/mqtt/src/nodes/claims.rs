//! Who has a session: a queue in the order of the log.
//!
//! Whoever wants a session appends a claim to the partition its records are in. The first claim that stands owns it; the
//! owner, and nobody else, writes the session's records and takes claims away: at last its own, by which the next one
//! owns it. A dead owner's claims are taken away in its name by whoever takes its place. So there is one owner at each
//! point of the log, and compaction does not change who it is: a claim's key holds the name of its node. A node acts as
//! the owner once it has read the very claim that it wrote last, and that is the first: one that reads late through a
//! compacted log may have missed that an earlier one was taken away.

use std::sync::Arc;

/// A claim that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) node: Arc<str>,
    pub(crate) offset: i64,
    /// A client waits for it. Otherwise it is made so that somebody looks after the session, and no owner gives way to
    /// it.
    pub(crate) urgent: bool,
}

/// The claims to one session, in the order of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Vec<Claim>);

impl Claims {
    /// Takes over what a record says: `node` claims (and how), or its claim is taken away. One that claims anew goes to
    /// the end.
    pub(crate) fn apply(&mut self, node: &Arc<str>, offset: i64, urgent: Option<bool>) {
        self.0.retain(|claim| claim.node != *node);
        if let Some(urgent) = urgent {
            self.0.push(Claim { node: node.clone(), offset, urgent });
        }
    }

    /// The owner's claim.
    pub(crate) fn owner(&self) -> Option<&Claim> {
        self.0.first()
    }

    /// The newest claim that the owner has to give way to.
    pub(crate) fn wanted(&self) -> Option<&Claim> {
        self.0.iter().skip(1).rev().find(|claim| claim.urgent)
    }

    /// A node's claim.
    pub(crate) fn of(&self, node: &str) -> Option<&Claim> {
        self.0.iter().find(|claim| *claim.node == *node)
    }

    /// Whose claims the owner takes away, in this order, to give way: those that a newer one has overtaken, then its own.
    pub(crate) fn giving_way(&self) -> Vec<Arc<str>> {
        let newest = self.wanted().map(|claim| claim.offset);
        let overtaken = self.0.iter().skip(1).filter(|claim| newest.is_some_and(|n| claim.offset < n));
        overtaken.chain(self.0.first()).map(|claim| claim.node.clone()).collect()
    }

    /// Whether other nodes than this one have claims.
    pub(crate) fn others(&self, me: &str) -> bool {
        self.0.iter().any(|claim| *claim.node != *me)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn name(n: usize) -> Arc<str> {
        format!("n{n}").into()
    }

    #[test]
    fn the_first_owns_and_gives_way_to_the_newest_that_waits() {
        let mut c = Claims::default();
        c.apply(&name(0), 1, Some(true));
        c.apply(&name(1), 2, Some(false));
        assert_eq!(c.wanted(), None);
        c.apply(&name(2), 3, Some(true));
        c.apply(&name(3), 4, Some(true));
        assert_eq!(c.owner().unwrap().node, name(0));
        assert_eq!(c.wanted().unwrap().node, name(3));
        assert_eq!(c.giving_way(), [name(1), name(2), name(0)]);
        c.apply(&name(0), 5, Some(true));
        assert_eq!(c.owner().unwrap().node, name(1));
    }

    /// A small generator of numbers; the seed is in the message of what fails.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % sides
        }
    }

    #[derive(Clone, Debug)]
    enum Entry {
        Claim {
            node: usize,
            urgent: Option<bool>,
        },
        /// Part of the session, written by this node.
        Part {
            node: usize,
        },
    }

    /// A node as the server plays it: it knows the log up to where it has read.
    #[derive(Default)]
    struct Player {
        read: usize,
        claims: Claims,
        acts: bool,
        /// Its last claim, unless it has taken it back.
        written: Option<usize>,
        dead: bool,
    }

    /// The log with what compaction does to it, and whether each name still belongs to its node.
    struct Model {
        log: Vec<Option<Entry>>,
        players: Vec<Player>,
        fenced: Vec<bool>,
    }

    impl Model {
        fn append(&mut self, entry: Entry) -> usize {
            self.log.push(Some(entry));
            self.log.len() - 1
        }

        fn read(&mut self, n: usize, steps: usize) {
            let p = &mut self.players[n];
            for _ in 0..steps {
                let Some(entry) = self.log.get(p.read) else { break };
                if let Some(Entry::Claim { node, urgent }) = entry {
                    p.claims.apply(&name(*node), p.read as i64, *urgent);
                }
                p.read += 1;
            }
            let own = |c: &Claim| c.node == name(n) && Some(c.offset as usize) == p.written;
            p.acts |= p.claims.owner().is_some_and(own) && !p.dead;
        }

        fn give_way(&mut self, n: usize) {
            let nodes = self.players[n].claims.giving_way();
            self.players[n].acts = false;
            self.players[n].written = None;
            for node in nodes {
                let node = node[1..].parse().unwrap();
                self.append(Entry::Claim { node, urgent: None });
            }
        }

        /// Owner at each point of the log, as whoever reads it whole sees it.
        fn owners(&self) -> Vec<Option<Arc<str>>> {
            let mut claims = Claims::default();
            let mut owners = Vec::new();
            for (at, entry) in self.log.iter().enumerate() {
                owners.push(claims.owner().map(|c| c.node.clone()));
                if let Some(Entry::Claim { node, urgent }) = entry {
                    claims.apply(&name(*node), at as i64, *urgent);
                }
            }
            owners.push(claims.owner().map(|c| c.node.clone()));
            owners
        }

        fn compact(&mut self) {
            let mut newest = BTreeMap::new();
            for (at, entry) in self.log.iter().enumerate() {
                if let Some(Entry::Claim { node, .. }) = entry {
                    newest.insert(*node, at);
                }
            }
            let upto = self.log.len();
            for at in 0..upto {
                let gone =
                    matches!(&self.log[at], Some(Entry::Claim { node, .. }) if newest.get(node) != Some(&at));
                if gone {
                    self.log[at] = None;
                }
            }
        }
    }

    /// Nodes claim, give way, stop reading, die, are taken for dead while they live, in any order: a session's records
    /// are written by its owner at that point of the log only, and no reader of a compacted log sees another owner.
    #[test]
    fn never_two_owners_whose_records_count() {
        const NODES: usize = 4;
        for seed in 0..2000 {
            let mut dice = Dice(seed);
            let mut m = Model {
                log: Vec::new(),
                players: (0..NODES).map(|_| Player::default()).collect(),
                fenced: vec![false; NODES],
            };
            for _ in 0..300 {
                let n = dice.roll(NODES);
                let steps = dice.roll(5);
                // Who is fenced can write nothing.
                if m.fenced[n] {
                    continue;
                }
                match dice.roll(12) {
                    0..=4 => m.read(n, steps),
                    5 | 6 => {
                        let p = &m.players[n];
                        if !p.acts && !p.dead {
                            let at = m.append(Entry::Claim { node: n, urgent: Some(dice.roll(4) > 0) });
                            m.players[n].written = Some(at);
                        }
                    }
                    7 | 8 => {
                        if m.players[n].acts && !m.players[n].dead {
                            m.append(Entry::Part { node: n });
                        }
                    }
                    9 => {
                        if m.players[n].acts && !m.players[n].dead && m.players[n].claims.wanted().is_some() {
                            m.give_way(n);
                        }
                    }
                    10 => {
                        // Somebody else takes this node's place: fences it, reads to the end, takes its claim away.
                        let other = (n + 1) % NODES;
                        if dice.roll(6) == 0
                            && !m.fenced[other]
                            && m.fenced.iter().filter(|f| **f).count() < 2
                        {
                            m.fenced[n] = true;
                            m.players[n].dead = true;
                            m.read(other, usize::MAX >> 1);
                            if m.players[other].claims.of(&name(n)).is_some() {
                                m.append(Entry::Claim { node: n, urgent: None });
                            }
                        }
                    }
                    _ => {
                        if dice.roll(3) == 0 {
                            let before = m.owners().pop();
                            m.compact();
                            assert_eq!(m.owners().pop(), before, "seed {seed}: compaction changed the owner");
                        }
                    }
                }
                let acting = (0..NODES).filter(|n| m.players[*n].acts && !m.fenced[*n]).count();
                assert!(acting <= 1, "seed {seed}: {acting} nodes act as the owner");
            }
            // Every part stands where its node owned the session, as far as the log still tells.
            let mut claims = Claims::default();
            let compacted = m.log.iter().any(Option::is_none);
            for (at, entry) in m.log.iter().enumerate() {
                match entry {
                    Some(Entry::Claim { node, urgent }) => claims.apply(&name(*node), at as i64, *urgent),
                    Some(Entry::Part { node }) if !compacted => {
                        assert_eq!(claims.owner().map(|c| c.node.clone()), Some(name(*node)), "seed {seed}");
                    }
                    _ => {}
                }
            }
        }
    }
}
