//! Clients of a consumer group under random joins, leaves, lost answers, new partitions, refusals and restarts: no
//! partition ever has two users, and when things calm down each has one. What the log tells is what memory knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_codec::{ErrorCode, Uuid};
use proptest::prelude::*;

use super::{Topics, named_id};
use crate::shard::Group;
use crate::*;

const GROUP: &str = "g";

#[derive(Clone, Debug)]
enum Step {
    /// The client heartbeats; it may not get the answer.
    Beat {
        client: usize,
        lost: bool,
    },
    Leave {
        client: usize,
    },
    Subscribe {
        client: usize,
        both: bool,
    },
    Grow {
        topic: bool,
    },
    Wait {
        seconds: i64,
    },
    Refuse,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..4_usize;
    let step = prop_oneof![
        12 => (client.clone(), prop::bool::weighted(0.1)).prop_map(|(client, lost)| Step::Beat { client, lost }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        1 => (client, any::<bool>()).prop_map(|(client, both)| Step::Subscribe { client, both }),
        1 => any::<bool>().prop_map(|topic| Step::Grow { topic }),
        1 => (1..50_i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Refuse),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Clone, Debug, Default)]
struct Client {
    epoch: i32,
    using: Assignment,
    both: bool,
    /// Says everything about itself in the next heartbeat: it joins, or an answer was lost.
    full: bool,
}

struct World {
    shard: GroupShard,
    clients: Vec<Client>,
    topics: Topics,
    log: Vec<Record>,
    now: Now,
    refuse: bool,
}

impl World {
    fn new() -> Self {
        let topics = BTreeMap::from([("t".to_owned(), 3), ("u".to_owned(), 2)]);
        let mut world = Self {
            shard: GroupShard::new(GroupCoordinatorConfig::default()),
            clients: vec![Client { full: true, ..Client::default() }; 4],
            topics: Topics { version: 1, topics },
            log: Vec::new(),
            now: Now { mono_ms: 0, wall_ms: 1_000 },
            refuse: false,
        };
        world.restart();
        world
    }

    fn restart(&mut self) {
        self.shard = GroupShard::new(GroupCoordinatorConfig::default());
        for (offset, record) in self.log.iter().enumerate() {
            self.shard.replay(offset as i64, &record.key, record.value.as_deref()).unwrap();
        }
        self.shard.topics_changed(Arc::new(self.topics.clone()));
        let out = self.shard.loaded(self.now);
        self.perform(out);
    }

    fn perform(&mut self, out: Output) -> Vec<Reply> {
        let mut replies = out.replies.clone();
        match out.ticket {
            Some(_) if std::mem::take(&mut self.refuse) => {
                let out = self.shard.refused(out, ErrorCode::CoordinatorNotAvailable, self.now);
                return self.perform(out);
            }
            Some(ticket) => {
                self.shard.accepted(self.log.len() as i64);
                self.log.extend(out.records);
                replies.extend(out.deferred);
                let out = self.shard.durable(ticket, self.now);
                replies.extend(self.perform(out));
            }
            None => replies.extend(out.deferred),
        }
        replies
    }

    fn ask(&mut self, at: usize, epoch: i32) -> HeartbeatAnswer {
        let client = &self.clients[at];
        let full = client.full || epoch == 0;
        let topics = if client.both { vec!["t".to_owned(), "u".to_owned()] } else { vec!["t".to_owned()] };
        let beat = ConsumerHeartbeat {
            group: GROUP.into(),
            member: format!("m{at}"),
            member_id_required: true,
            epoch,
            instance: None,
            rack: None,
            rebalance_timeout_ms: if full { 60_000 } else { -1 },
            topics: full.then_some(topics),
            regex: None,
            assignor: None,
            owned: Some(client.using.clone()),
            client_id: "c".into(),
            client_host: "/h".into(),
            fresh_id: "f".into(),
            settings: GroupSettings { assignment_interval_ms: 0, ..GroupSettings::default() },
        };
        let out = self.shard.handle(RequestId(1), Request::ConsumerHeartbeat(beat), self.now);
        let replies = self.perform(out);
        match replies.into_iter().find(|reply| reply.to == RequestId(1)).unwrap().body {
            Response::ModernHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat and what the client makes of the answer; answers whether anything changed.
    fn beat(&mut self, at: usize, lost: bool) -> bool {
        if self.clients[at].epoch == 0 {
            self.clients[at].using.clear();
        }
        let answer = self.ask(at, self.clients[at].epoch);
        let client = &mut self.clients[at];
        if lost || answer.error == ErrorCode::CoordinatorNotAvailable {
            client.full = true;
            return true;
        }
        match answer.error {
            ErrorCode::None => {
                let changed = client.epoch != answer.epoch
                    || answer.assignment.as_ref().is_some_and(|assignment| *assignment != client.using);
                client.epoch = answer.epoch;
                client.full = false;
                if let Some(assignment) = answer.assignment {
                    client.using = assignment;
                }
                changed
            }
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound => {
                *client = Client { both: client.both, full: true, ..Client::default() };
                true
            }
            other => panic!("{other:?} {:?}", answer.message),
        }
    }

    fn is_member(&self, at: usize) -> bool {
        match self.shard.tables.groups.get(GROUP) {
            Some(Group::Modern(group)) => group.members.contains_key(&format!("m{at}")),
            _ => false,
        }
    }

    fn users(&self) -> BTreeMap<(Uuid, i32), Vec<usize>> {
        let mut users: BTreeMap<(Uuid, i32), Vec<usize>> = BTreeMap::new();
        for (at, client) in self.clients.iter().enumerate().filter(|(at, _)| self.is_member(*at)) {
            for (topic, partitions) in &client.using {
                for index in partitions {
                    users.entry((*topic, *index)).or_default().push(at);
                }
            }
        }
        users
    }

    fn tick(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now.mono_ms += 1_000;
            self.now.wall_ms += 1_000;
            while let Some(out) = self.shard.tick(self.now) {
                self.perform(out);
            }
        }
    }

    fn shape(&self) -> String {
        match self.shard.tables.groups.get(GROUP) {
            Some(Group::Modern(group)) => format!(
                "{} {} {} {:?} {:?} {:?}",
                group.epoch,
                group.target_epoch,
                group.metadata_hash,
                group.members,
                group.target,
                group.holders_sorted()
            ),
            other => format!("{:?}", other.is_some()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn no_partition_has_two_users(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Beat { client, lost } => { world.beat(client, lost); }
                Step::Leave { client } => {
                    if world.clients[client].epoch > 0 {
                        world.ask(client, -1);
                        let both = world.clients[client].both;
                        if !world.is_member(client) {
                            world.clients[client] = Client { both, full: true, ..Client::default() };
                        }
                    }
                }
                Step::Subscribe { client, both } => {
                    world.clients[client].both = both;
                    world.clients[client].full = true;
                }
                Step::Grow { topic } => {
                    let name = if topic { "t" } else { "u" };
                    *world.topics.topics.get_mut(name).unwrap() += 1;
                    world.topics.version += 1;
                    world.shard.topics_changed(Arc::new(world.topics.clone()));
                }
                Step::Wait { seconds } => world.tick(seconds),
                Step::Refuse => world.refuse = true,
                Step::Restart => {
                    let before = world.shape();
                    world.restart();
                    prop_assert_eq!(before, world.shape());
                }
            }
            for (place, users) in world.users() {
                prop_assert!(users.len() == 1, "{:?} is used by {:?}", place, users);
            }
        }
        world.refuse = false;
        let mut rounds = 0;
        loop {
            let changes = (0..4).filter(|at| world.beat(*at, false)).count();
            rounds += 1;
            if changes == 0 {
                break;
            }
            prop_assert!(rounds < 40, "does not settle");
        }
        let mut wanted = BTreeSet::new();
        for (name, count) in &world.topics.topics {
            if name == "t" || world.clients.iter().any(|client| client.both) {
                wanted.extend((0..*count).map(|index| (named_id(name), index)));
            }
        }
        prop_assert_eq!(wanted, world.users().into_keys().collect::<BTreeSet<_>>());
    }
}
