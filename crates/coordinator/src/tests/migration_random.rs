//! Classic and new clients together in one group, which changes its protocol as they come and go: no partition ever
//! has two users, and when things calm down each has one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::messages::ConsumerProtocolAssignment;
use kafka_codec::messages::consumer_protocol_assignment::TopicPartition;
use kafka_codec::wire::Reader;
use kafka_codec::{ErrorCode, Message};
use proptest::prelude::*;

use super::{Topics, named_id, subscription};
use crate::shard::Group;
use crate::*;

const PARTITIONS: i32 = 5;

#[derive(Clone, Debug)]
enum Step {
    Act { client: usize },
    Leave { client: usize },
    Wait { seconds: i64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..5_usize;
    let step = prop_oneof![
        12 => client.clone().prop_map(|client| Step::Act { client }),
        2 => client.prop_map(|client| Step::Leave { client }),
        1 => (1..12_i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..150)
}

/// Clients 0 and 1 speak the new protocol, the others the classic one.
fn is_classic(at: usize) -> bool {
    at >= 2
}

#[derive(Clone, Debug, Default)]
struct Client {
    member: String,
    /// Epoch, or generation.
    epoch: i32,
    using: Vec<i32>,
    /// A classic client's request that is not answered yet.
    waits: Option<RequestId>,
    joined: bool,
    synced: bool,
}

struct World {
    shard: GroupShard,
    clients: Vec<Client>,
    log: Vec<Record>,
    now: Now,
    next: u64,
    answers: HashMap<RequestId, Response>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            shard: GroupShard::new(GroupCoordinatorConfig::default()),
            clients: vec![Client::default(); 5],
            log: Vec::new(),
            now: Now { mono_ms: 0, wall_ms: 1_000 },
            next: 0,
            answers: HashMap::new(),
        };
        world.restart();
        world
    }

    fn restart(&mut self) {
        let config = GroupCoordinatorConfig {
            initial_rebalance_delay_ms: 0,
            consumer_assignment_interval_ms: 0,
            ..GroupCoordinatorConfig::default()
        };
        self.shard = GroupShard::new(config);
        for (offset, record) in self.log.iter().enumerate() {
            self.shard.replay(offset as i64, &record.key, record.value.as_deref()).unwrap();
        }
        let topics = BTreeMap::from([("t".to_owned(), PARTITIONS)]);
        self.shard.topics_changed(Arc::new(Topics { version: 1, topics }));
        let out = self.shard.loaded(self.now);
        self.perform(out);
        // Connections are gone, and with them the answers.
        for client in &mut self.clients {
            client.waits = None;
        }
    }

    fn perform(&mut self, out: Output) {
        let (ticket, records) = (out.ticket, out.records);
        for reply in out.replies.into_iter().chain(out.deferred) {
            self.answers.insert(reply.to, reply.body);
        }
        if let Some(ticket) = ticket {
            self.shard.accepted(self.log.len() as i64);
            self.log.extend(records);
            let out = self.shard.durable(ticket, self.now);
            self.perform(out);
        }
    }

    fn ask(&mut self, request: Request) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        let out = self.shard.handle(id, request, self.now);
        self.perform(out);
        id
    }

    fn act(&mut self, at: usize) {
        if is_classic(at) { self.act_classic(at) } else { self.act_new(at) }
    }

    fn act_new(&mut self, at: usize) {
        let client = &self.clients[at];
        let epoch = client.epoch;
        let owned = Assignment::from([(named_id("t"), client.using.iter().copied().collect())]);
        let owned = if epoch == 0 { Assignment::new() } else { owned };
        let id = self.ask(beat(at, epoch, owned));
        let Some(Response::ModernHeartbeat(answer)) = self.answers.remove(&id) else { panic!("no answer") };
        let client = &mut self.clients[at];
        if answer.error != ErrorCode::None {
            *client = Client::default();
            return;
        }
        if epoch == 0 {
            client.using.clear();
        }
        client.epoch = answer.epoch;
        if let Some(assignment) = answer.assignment {
            client.using = assignment.into_values().flatten().collect();
        }
    }

    fn act_classic(&mut self, at: usize) {
        if let Some(id) = self.clients[at].waits {
            if let Some(answer) = self.answers.remove(&id) {
                self.clients[at].waits = None;
                self.hear(at, answer);
            }
            return;
        }
        let client = self.clients[at].clone();
        let request = if !client.joined {
            self.clients[at].using.clear();
            join(at, &client.member)
        } else if !client.synced {
            sync(&client, Vec::new())
        } else {
            Request::Heartbeat(Heartbeat {
                group: "g".into(),
                member: client.member,
                instance: None,
                generation: client.epoch,
            })
        };
        let id = self.ask(request);
        self.clients[at].waits = Some(id);
    }

    fn hear(&mut self, at: usize, answer: Response) {
        match answer {
            Response::Join(joined) if joined.error == ErrorCode::None => {
                let client = &mut self.clients[at];
                client.member = joined.member.clone();
                client.epoch = joined.generation;
                client.joined = true;
                client.synced = false;
                if joined.leader == joined.member && !joined.members.is_empty() {
                    let request = sync(&self.clients[at].clone(), divide(&joined));
                    let id = self.ask(request);
                    self.clients[at].waits = Some(id);
                }
            }
            Response::Join(joined) => {
                let client = &mut self.clients[at];
                client.member = match joined.error {
                    ErrorCode::UnknownMemberId => String::new(),
                    ErrorCode::MemberIdRequired => joined.member,
                    _ => std::mem::take(&mut client.member),
                };
            }
            Response::Sync(synced) if synced.error == ErrorCode::None => {
                let client = &mut self.clients[at];
                client.synced = true;
                client.using = read(&synced.assignment);
            }
            Response::Sync(Synced { error, .. }) | Response::Heartbeat(error) => {
                if error == ErrorCode::None {
                    return;
                }
                let client = &mut self.clients[at];
                client.joined = false;
                client.synced = false;
                if error == ErrorCode::UnknownMemberId {
                    *client = Client::default();
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, at: usize) {
        let client = self.clients[at].clone();
        if is_classic(at) && !client.member.is_empty() {
            let members = vec![(client.member, None)];
            self.ask(Request::Leave(LeaveGroup { group: "g".into(), members }));
        } else if !is_classic(at) && client.epoch > 0 {
            self.ask(beat(at, -1, Assignment::new()));
        }
        self.clients[at] = Client::default();
    }

    fn is_member(&self, at: usize) -> bool {
        let id = if is_classic(at) { self.clients[at].member.clone() } else { format!("m{at}") };
        match self.shard.tables.groups.get("g") {
            Some(Group::Modern(group)) => group.members.contains_key(&id),
            Some(Group::Classic(group)) => group.members.contains_key(&id),
            None => false,
        }
    }

    fn users(&self) -> BTreeMap<i32, Vec<usize>> {
        let mut users: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (at, client) in self.clients.iter().enumerate().filter(|(at, _)| self.is_member(*at)) {
            for index in &client.using {
                users.entry(*index).or_default().push(at);
            }
        }
        users
    }

    fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now.mono_ms += 1_000;
            self.now.wall_ms += 1_000;
            while let Some(out) = self.shard.tick(self.now) {
                self.perform(out);
            }
        }
    }
}

fn beat(at: usize, epoch: i32, owned: Assignment) -> Request {
    let says_all = epoch >= 0;
    Request::ConsumerHeartbeat(ConsumerHeartbeat {
        group: "g".into(),
        member: format!("m{at}"),
        member_id_required: true,
        epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: if says_all { 20_000 } else { -1 },
        topics: says_all.then(|| vec!["t".to_owned()]),
        regex: None,
        assignor: None,
        owned: says_all.then_some(owned),
        client_id: "c".into(),
        client_host: "/h".into(),
        fresh_id: "f".into(),
        settings: GroupSettings { assignment_interval_ms: 0, ..GroupSettings::default() },
    })
}

fn join(at: usize, member: &str) -> Request {
    static FRESH: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let fresh = FRESH.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Request::Join(JoinGroup {
        group: "g".into(),
        member: member.to_owned(),
        instance: None,
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".to_owned(), subscription("t"))],
        client_id: format!("k{at}"),
        client_host: "/h".into(),
        require_known_member: true,
        supports_skip_assignment: true,
        fresh_id: fresh.to_string(),
    })
}

fn sync(client: &Client, assignments: Vec<(String, Bytes)>) -> Request {
    Request::Sync(SyncGroup {
        group: "g".into(),
        member: client.member.clone(),
        instance: None,
        generation: client.epoch,
        protocol_type: None,
        protocol_name: None,
        assignments,
    })
}

/// What a leader does: deals the partitions in turn.
fn divide(joined: &Joined) -> Vec<(String, Bytes)> {
    let count = joined.members.len() as i32;
    let of = |(at, member): (i32, &JoinedMember)| {
        let partitions = (0..PARTITIONS).filter(|index| index % count == at).collect();
        let topic = TopicPartition { topic: "t".into(), partitions };
        let message = ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
        let mut bytes = vec![0, 0];
        message.encode(&mut bytes, 0).unwrap();
        (member.member.clone(), bytes.into())
    };
    (0..).zip(&joined.members).map(of).collect()
}

fn read(assignment: &Bytes) -> Vec<i32> {
    if assignment.is_empty() {
        return Vec::new();
    }
    let mut reader = Reader::new(assignment);
    let version = reader.i16().unwrap();
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version).unwrap();
    assignment.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn migration_never_doubles_a_partition(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Act { client } => world.act(client),
                Step::Leave { client } => world.leave(client),
                Step::Wait { seconds } => world.wait(seconds),
                Step::Restart => world.restart(),
            }
            for (partition, users) in world.users() {
                prop_assert!(users.len() == 1, "{partition} is used by {users:?}");
            }
        }
        let mut settled = 0;
        for _ in 0..200 {
            (0..5).for_each(|at| world.act(at));
            world.wait(1);
            let whole = world.users().len() == PARTITIONS as usize;
            settled = if whole { settled + 1 } else { 0 };
            if settled > 10 {
                break;
            }
        }
        prop_assert!(settled > 10, "does not settle: {:?}", world.clients);
    }
}
