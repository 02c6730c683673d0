//! Random events: the group's invariants hold after each, every request is answered at most once, and replaying
//! the records gives the state back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::classic::{ClassicGroup, ClassicState};
use crate::timers::TimerKey;

#[derive(Clone, Debug)]
enum Event {
    Join { member: usize, instance: Option<u8>, protocols: u8, known_id: bool },
    Sync { member: usize, stale: bool },
    Beat { member: usize },
    Leave { member: usize },
    Commit { member: Option<usize>, partition: i32, offset: i64 },
    Fetch,
    Describe,
    DropOffsets,
    Delete,
    TopicDeleted,
    Wait { ms: i64 },
    Durable,
    Refuse,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let member = 0..6_usize;
    prop_oneof![
        6 => (member.clone(), proptest::option::weighted(0.3, 0..2_u8), 1..4_u8, any::<bool>()).prop_map(
            |(member, instance, protocols, known_id)| Event::Join { member, instance, protocols, known_id }
        ),
        8 => (member.clone(), prop::bool::weighted(0.1))
            .prop_map(|(member, stale)| Event::Sync { member, stale }),
        3 => member.clone().prop_map(|member| Event::Beat { member }),
        2 => member.clone().prop_map(|member| Event::Leave { member }),
        4 => (proptest::option::of(member), 0..3_i32, 0..100_i64)
            .prop_map(|(member, partition, offset)| Event::Commit { member, partition, offset }),
        2 => Just(Event::Fetch),
        1 => Just(Event::Describe),
        1 => Just(Event::DropOffsets),
        1 => Just(Event::Delete),
        1 => Just(Event::TopicDeleted),
        6 => prop_oneof![Just(1_i64), 1..5_000_i64, Just(70_000), Just(700_000_000)]
            .prop_map(|ms| Event::Wait { ms }),
        6 => Just(Event::Durable),
        2 => Just(Event::Refuse),
        1 => Just(Event::Restart),
    ]
}

/// A member as its client knows it.
#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    generation: i32,
    instance: Option<String>,
}

struct Model {
    shard: GroupShard,
    config: GroupCoordinatorConfig,
    now: Now,
    log: Vec<Record>,
    durable_to: usize,
    in_flight: VecDeque<(Ticket, usize, Vec<Reply>)>,
    refuse_next: bool,
    next_request: u64,
    open: BTreeMap<RequestId, usize>,
    clients: Vec<Client>,
    /// Commits in the log that are not answered yet, and where their record stands.
    commits: BTreeMap<RequestId, usize>,
    asking: Option<RequestId>,
}

impl Model {
    fn new() -> Self {
        let config = GroupCoordinatorConfig {
            initial_rebalance_delay_ms: 1_000,
            group_max_size: 4,
            pending_members_max: 3,
            ..Default::default()
        };
        let mut model = Self {
            shard: GroupShard::new(config.clone()),
            config,
            now: Now { mono_ms: 5, wall_ms: 1_700_000_000_000 },
            log: Vec::new(),
            durable_to: 0,
            in_flight: VecDeque::new(),
            refuse_next: false,
            next_request: 0,
            open: BTreeMap::new(),
            clients: vec![Client::default(); 6],
            commits: BTreeMap::new(),
            asking: None,
        };
        let out = model.shard.loaded(model.now);
        model.perform(out);
        model
    }

    fn ask(&mut self, member: usize, request: Request) {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.open.insert(id, member);
        self.asking = matches!(request, Request::OffsetCommit(_)).then_some(id);
        let out = self.shard.handle(id, request, self.now);
        self.perform(out);
        self.asking = None;
        self.tick();
    }

    fn tick(&mut self) {
        while let Some(out) = self.shard.tick(self.now) {
            self.perform(out);
        }
    }

    fn perform(&mut self, out: Output) {
        assert_eq!(out.records.is_empty(), out.ticket.is_none());
        let Some(ticket) = out.ticket else {
            self.send(out.replies);
            match self.in_flight.back_mut() {
                Some((_, _, deferred)) => deferred.extend(out.deferred),
                None => self.send(out.deferred),
            }
            return;
        };
        if std::mem::take(&mut self.refuse_next) {
            let undone = self.shard.refused(out, ErrorCode::CoordinatorNotAvailable, self.now);
            assert!(undone.records.is_empty(), "a refusal asks for no further records here");
            return self.perform(undone);
        }
        if let Some(id) = self.asking {
            self.commits.insert(id, self.log.len());
        }
        self.shard.accepted(self.log.len() as i64);
        self.log.extend(out.records);
        self.send(out.replies);
        self.in_flight.push_back((ticket, self.log.len(), out.deferred));
    }

    fn durable(&mut self) {
        while let Some((ticket, end, deferred)) = self.in_flight.pop_front() {
            self.durable_to = end;
            self.send(deferred);
            let out = self.shard.durable(ticket, self.now);
            self.perform(out);
        }
    }

    fn send(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let member = self.open.remove(&reply.to).expect("a request is answered once");
            match reply.body {
                Response::Join(joined) => {
                    let client = &mut self.clients[member];
                    match joined.error {
                        ErrorCode::None => {
                            assert!(!joined.member.is_empty());
                            client.id = joined.member;
                            client.generation = joined.generation;
                        }
                        ErrorCode::MemberIdRequired => client.id = joined.member,
                        _ => client.id.clear(),
                    }
                }
                Response::OffsetCommit(committed) => {
                    let record = self.commits.remove(&reply.to);
                    if committed.topics[0].partitions[0].1 == ErrorCode::None {
                        assert!(record.unwrap() < self.durable_to, "acknowledged and not yet durable");
                    }
                }
                Response::OffsetFetch(fetched) => {
                    let told = fetched.topics.iter().flat_map(|topic| &topic.partitions);
                    for offset in told.filter_map(|(_, _, offset)| offset.as_ref()) {
                        let place = offset.record_offset as usize;
                        assert!(place < self.durable_to, "told an offset that may yet be lost");
                    }
                }
                _ => {}
            }
        }
    }

    /// The log keeps what is durable.
    fn restart(&mut self) {
        let end = self.durable_to;
        self.log.truncate(end);
        self.in_flight.clear();
        self.open.clear();
        self.commits.clear();
        self.shard = self.replayed();
        let out = self.shard.loaded(self.now);
        self.perform(out);
    }

    fn replayed(&self) -> GroupShard {
        let mut shard = GroupShard::new(self.config.clone());
        for (offset, record) in self.log.iter().enumerate() {
            shard.replay(offset as i64, &record.key, record.value.as_deref()).unwrap();
        }
        shard
    }

    fn run(&mut self, event: Event) {
        match event {
            Event::Join { member, instance, protocols, known_id } => {
                let client = &mut self.clients[member];
                client.instance = instance.map(|number| format!("static-{number}"));
                let id = if known_id { client.id.clone() } else { String::new() };
                let names = [("range", 1), ("sticky", 2)];
                let join = JoinGroup {
                    group: "g".into(),
                    member: id,
                    instance: client.instance.clone(),
                    session_timeout_ms: 10_000,
                    rebalance_timeout_ms: 60_000,
                    protocol_type: "consumer".into(),
                    protocols: names
                        .iter()
                        .filter(|(_, bit)| protocols & bit != 0)
                        .map(|(name, _)| ((*name).to_owned(), subscription("t")))
                        .collect(),
                    client_id: format!("c{member}"),
                    client_host: "/127.0.0.1".into(),
                    require_known_member: member % 2 == 0,
                    supports_skip_assignment: member % 3 == 0,
                    fresh_id: self.next_request.to_string(),
                };
                self.ask(member, Request::Join(join));
            }
            Event::Sync { member, stale } => {
                let client = self.clients[member].clone();
                let assignments =
                    self.clients.iter().map(|other| (other.id.clone(), Bytes::from(other.id.clone())));
                let sync = SyncGroup {
                    group: "g".into(),
                    member: client.id.clone(),
                    instance: client.instance,
                    generation: client.generation - i32::from(stale),
                    protocol_type: None,
                    protocol_name: None,
                    assignments: assignments.collect(),
                };
                self.ask(member, Request::Sync(sync));
            }
            Event::Beat { member } => {
                let client = self.clients[member].clone();
                let beat = Heartbeat {
                    group: "g".into(),
                    member: client.id,
                    instance: client.instance,
                    generation: client.generation,
                };
                self.ask(member, Request::Heartbeat(beat));
            }
            Event::Leave { member } => {
                let client = self.clients[member].clone();
                let leave = LeaveGroup { group: "g".into(), members: vec![(client.id, client.instance)] };
                self.ask(member, Request::Leave(leave));
            }
            Event::Commit { member, partition, offset } => {
                let client = member.map(|member| self.clients[member].clone()).unwrap_or_default();
                let commit = OffsetCommit {
                    group: "g".into(),
                    member: client.id.clone(),
                    instance: client.instance.clone(),
                    generation: if member.is_some() { client.generation } else { -1 },
                    retention_ms: None,
                    knows_group_id_not_found: true,
                    topics: vec![CommitTopic {
                        name: "t".into(),
                        id: None,
                        partitions: vec![CommitPartition {
                            partition,
                            offset,
                            leader_epoch: 0,
                            metadata: None,
                        }],
                    }],
                };
                self.ask(member.unwrap_or(0), Request::OffsetCommit(commit));
            }
            Event::Fetch => self.ask(
                0,
                Request::OffsetFetch(OffsetFetch {
                    group: "g".into(),
                    member: None,
                    epoch: -1,
                    topics: None,
                    require_stable: false,
                }),
            ),
            Event::Describe => self.ask(0, Request::Describe(vec!["g".into(), "none".into()])),
            Event::DropOffsets => {
                let delete = OffsetDelete { group: "g".into(), topics: vec![("t".into(), vec![0, 1])] };
                self.ask(0, Request::OffsetDelete(delete));
            }
            Event::Delete => self.ask(0, Request::Delete(vec!["g".into()])),
            Event::TopicDeleted => {
                let out = self.shard.topics_deleted(&["t".to_owned()], self.now);
                self.perform(out);
            }
            Event::Wait { ms } => {
                let end = self.now.mono_ms + ms;
                let mut steps = 0;
                while let Some(at) = self.shard.next_deadline_ms().filter(|at| *at <= end) {
                    self.now.wall_ms += (at - self.now.mono_ms).max(0);
                    self.now.mono_ms = self.now.mono_ms.max(at);
                    self.tick();
                    steps += 1;
                    assert!(steps < 100_000, "deadlines go on without end");
                }
                self.now.wall_ms += end - self.now.mono_ms;
                self.now.mono_ms = end;
            }
            Event::Durable => self.durable(),
            Event::Refuse => self.refuse_next = true,
            Event::Restart => self.restart(),
        }
    }

    fn check(&self) {
        let replayed = self.replayed();
        assert_eq!(self.shard.tables.offsets, replayed.tables.offsets, "offsets differ from the records");
        let groups = |shard: &GroupShard| shard.tables.groups.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(groups(&self.shard), groups(&replayed), "groups differ from the records");
        for (id, group) in &self.shard.tables.groups {
            let Group::Classic(group) = group else { panic!("{group:?}") };
            self.check_group(group);
            let Some(Group::Classic(stored)) = replayed.tables.groups.get(id) else { continue };
            if group.is(ClassicState::Stable) {
                assert_eq!(persistent(group), persistent(stored), "stable group differs from its record");
            }
        }
    }

    fn check_group(&self, group: &ClassicGroup) {
        let has_timer = |key: TimerKey| {
            let mut due = false;
            self.shard.timers.for_each(|armed| due |= *armed == key);
            due
        };
        let statics: BTreeMap<String, String> = group
            .members
            .values()
            .filter_map(|member| Some((member.instance.clone()?, member.id.clone())))
            .collect();
        assert_eq!(statics, group.static_members);
        assert_eq!(group.leader.is_some(), !group.members.is_empty());
        assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
        assert!(group.pending_join.iter().all(|id| !group.members.contains_key(id)));
        assert!(group.pending_sync.iter().all(|id| group.members.contains_key(id)));
        assert!(group.pending_join.len() <= self.config.pending_members_max);
        for id in &group.pending_join {
            assert!(has_timer(group.session_key(id)), "a member to be is never forgotten");
        }
        for member in group.members.values() {
            let alive = member.is_excused() || has_timer(group.session_key(&member.id));
            assert!(alive, "{} has neither a deadline nor an excuse", member.id);
            for waiting in member.awaiting_join.iter().chain(&member.awaiting_sync) {
                assert!(self.open.contains_key(waiting), "{waiting:?} was answered and still waits");
            }
            let joining = group.is(ClassicState::PreparingRebalance) || self.static_answer_pending(group);
            assert!(member.awaiting_join.is_none() || joining);
            assert!(member.awaiting_sync.is_none() || group.is(ClassicState::CompletingRebalance));
        }
        match group.state {
            ClassicState::Empty => assert!(group.members.is_empty()),
            ClassicState::PreparingRebalance => {
                assert!(has_timer(group.join_key()), "a rebalance ends some time");
            }
            ClassicState::CompletingRebalance => {
                assert!(!group.members.is_empty());
                let leader_syncs = group.pending_sync.is_empty() || has_timer(group.sync_key());
                assert!(leader_syncs, "an assignment is awaited for ever");
            }
            ClassicState::Stable => {
                assert!(!group.members.is_empty());
                let chosen = group.protocol_name.as_deref().unwrap();
                assert!(group.members.values().all(|member| member.supports(chosen)));
            }
            ClassicState::Dead => panic!("dead group in the table"),
        }
    }

    /// A static member's new id is being stored: it waits in a stable group.
    fn static_answer_pending(&self, group: &ClassicGroup) -> bool {
        !self.in_flight.is_empty() && group.members.values().any(|member| member.is_static())
    }
}

/// What a record of the group holds.
fn persistent(group: &ClassicGroup) -> impl PartialEq + std::fmt::Debug {
    let chosen = group.protocol_name.clone().unwrap_or_default();
    let members: Vec<_> = group
        .members
        .values()
        .map(|member| {
            (
                member.id.clone(),
                member.instance.clone(),
                member.client_id.clone(),
                (member.session_timeout_ms, member.rebalance_timeout_ms),
                member.metadata(&chosen),
                member.assignment.clone(),
            )
        })
        .collect();
    (group.generation, group.protocol_type.clone(), chosen, group.leader.clone(), members)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_events_keep_the_invariants(events in prop::collection::vec(event(), 1..120)) {
        let mut model = Model::new();
        for event in events {
            model.run(event);
            model.check();
        }
    }
}
