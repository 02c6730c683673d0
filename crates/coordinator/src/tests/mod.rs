//! Scripts: lines that begin with `>` are events, the lines after them what the shard did. [`check`] runs the
//! events and compares the whole transcript, so a test reads as a conversation and is extended by a line.
//!
//! Events: `join LABEL CLIENT [member= instance= protocols=a,b type= v= session= rebalance= topics= group=]`,
//! `sync LABEL MEMBER gen= [assign=M:TEXT,…]`, `beat LABEL MEMBER gen=`, `leave LABEL MEMBER…` (`@name` for a
//! static member), `commit LABEL [member= gen=] TOPIC/PARTITION@OFFSET…`, `fetch LABEL [TOPIC/PARTITION…]`,
//! `drop-offsets LABEL TOPIC/PARTITION…`, `describe LABEL GROUP…`, `list LABEL [states= types=]`,
//! `delete LABEL GROUP…`, `topics-deleted TOPIC…`, `wait MS`, `hold` / `durable` (records stay undurable between),
//! `refuse ERROR` (of the next append), `state`, `restart`, `max-size N`, `delay MS`, `topics NAME:PARTITIONS…`,
//! `consumer LABEL MEMBER epoch= [topics= regex= owned=t/0,… instance= assignor= rebalance= full=]` (a heartbeat;
//! topics and the rest are said when joining), `consumer-describe LABEL GROUP…`, `share LABEL MEMBER epoch= [topics=]`,
//! `share-describe LABEL GROUP…`, `policy NAME`.

mod admin;
mod consumer;
mod consumer_random;
mod failures;
mod migration;
mod migration_random;
mod offsets;
mod random;
mod rebalance;
mod records;
mod share;
mod static_members;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::messages::ConsumerProtocolAssignment;
use kafka_codec::{ErrorCode, Message};

use crate::classic::ClassicState;
use crate::modern::GroupChange;
use crate::records::{Parsed, parse};
use crate::shard::Group;
use crate::*;

/// Runs the events of `script` and compares what happens with the lines between them.
#[track_caller]
fn check(script: &str) {
    let script = script.trim();
    let mut bench = Bench::new();
    for line in script.lines() {
        if let Some(event) = line.trim().strip_prefix("> ") {
            writeln!(bench.transcript, "> {event}").unwrap();
            bench.run(event);
        }
    }
    let expected: Vec<&str> = script.lines().map(str::trim).collect();
    let actual: Vec<&str> = bench.transcript.trim().lines().collect();
    assert!(
        expected == actual,
        "--- transcript ---\n{}\n--- expected ---\n{script}\n",
        bench.transcript.trim()
    );
}

struct Bench {
    shard: GroupShard,
    config: GroupCoordinatorConfig,
    now: Now,
    labels: Vec<String>,
    log: Vec<Record>,
    fresh: usize,
    holding: bool,
    held: VecDeque<(Ticket, Vec<Reply>)>,
    refuse: Option<ErrorCode>,
    transcript: String,
    catalog: Topics,
}

/// Topics by name; the id of a topic is made of its name's first letter.
#[derive(Clone, Debug, Default)]
struct Topics {
    version: i64,
    topics: BTreeMap<String, i32>,
}

fn named_id(name: &str) -> Uuid {
    Uuid([name.as_bytes()[0]; 16])
}

impl TopicCatalog for Topics {
    fn version(&self) -> i64 {
        self.version
    }

    fn by_name(&self, name: &str) -> Option<Topic> {
        let partitions = *self.topics.get(name)?;
        Some(Topic { id: named_id(name), name: name.into(), partitions })
    }

    fn by_id(&self, id: Uuid) -> Option<Topic> {
        let name = self.topics.keys().find(|name| named_id(name) == id)?;
        self.by_name(name)
    }

    fn for_each_name(&self, see: &mut dyn FnMut(&str)) {
        self.topics.keys().for_each(|name| see(name));
    }
}

impl Bench {
    fn new() -> Self {
        let config = GroupCoordinatorConfig {
            initial_rebalance_delay_ms: 0,
            consumer_assignment_interval_ms: 0,
            ..Default::default()
        };
        let mut bench = Self {
            shard: GroupShard::new(config.clone()),
            config,
            now: Now { mono_ms: 0, wall_ms: 1_000_000 },
            labels: Vec::new(),
            log: Vec::new(),
            fresh: 0,
            holding: false,
            held: VecDeque::new(),
            refuse: None,
            transcript: String::new(),
            catalog: Topics::default(),
        };
        let out = bench.shard.loaded(bench.now);
        bench.perform(out);
        bench
    }

    fn say(&mut self, line: impl AsRef<str>) {
        self.transcript.push_str(line.as_ref());
        self.transcript.push('\n');
    }

    fn restart(&mut self) {
        self.shard = GroupShard::new(self.config.clone());
        for (offset, record) in self.log.iter().enumerate() {
            self.shard.replay(offset as i64, &record.key, record.value.as_deref()).unwrap();
        }
        self.shard.topics_changed(Arc::new(self.catalog.clone()));
        let out = self.shard.loaded(self.now);
        self.perform(out);
    }

    fn consumer_beat(
        &mut self,
        words: &[&str],
        options: &HashMap<&str, &str>,
        group: String,
        instance: Option<String>,
    ) -> ConsumerHeartbeat {
        self.fresh += 1;
        let number =
            |name: &str, default: i32| options.get(name).map_or(default, |text| text.parse().unwrap());
        let epoch = number("epoch", 0);
        let list = |text: &str| -> Vec<String> {
            text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let is_full = epoch == 0 || options.contains_key("full");
        let regex = options.get("regex").map(|regex| (*regex).to_owned());
        let topics = match options.get("topics") {
            Some(topics) => Some(list(topics)),
            None => (is_full && regex.is_none()).then(|| vec!["t".to_owned()]),
        };
        let owned = match options.get("owned") {
            Some(owned) => {
                let mut assignment = Assignment::new();
                for place in list(owned) {
                    let (topic, partition) = place.split_once('/').unwrap();
                    assignment.entry(named_id(topic)).or_default().insert(partition.parse().unwrap());
                }
                Some(assignment)
            }
            None => is_full.then(Assignment::new),
        };
        ConsumerHeartbeat {
            group,
            member: words.get(1).map(|member| (*member).to_owned()).unwrap_or_default(),
            member_id_required: true,
            epoch,
            instance,
            rack: None,
            rebalance_timeout_ms: if is_full { number("rebalance", 60_000) } else { -1 },
            topics,
            regex,
            assignor: options.get("assignor").map(|name| (*name).to_owned()),
            owned,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            fresh_id: self.fresh.to_string(),
            settings: GroupSettings {
                assignment_interval_ms: number("interval", 0),
                ..GroupSettings::default()
            },
        }
    }

    fn run(&mut self, event: &str) {
        let mut words = event.split_whitespace();
        let verb = words.next().unwrap();
        let (options, words): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.contains('=') && (word.starts_with("owned=") || !word.contains('/')));
        let options: HashMap<&str, &str> =
            options.iter().filter_map(|option| option.split_once('=')).collect();
        let option = |name: &str, default: &str| (*options.get(name).unwrap_or(&default)).to_owned();
        let number =
            |name: &str, default: i64| options.get(name).map_or(default, |text| text.parse().unwrap());
        let group = option("group", "g");
        let instance = options.get("instance").map(|name| (*name).to_owned());
        let request = match verb {
            "join" => {
                self.fresh += 1;
                let version = number("v", 9);
                let subscription = subscription(&option("topics", "t"));
                Request::Join(JoinGroup {
                    group,
                    member: option("member", ""),
                    instance,
                    session_timeout_ms: number("session", 10_000) as i32,
                    rebalance_timeout_ms: number("rebalance", 60_000) as i32,
                    protocol_type: option("type", "consumer"),
                    protocols: option("protocols", "range")
                        .split(',')
                        .map(|name| (name.to_owned(), subscription.clone()))
                        .collect(),
                    client_id: words[1].to_owned(),
                    client_host: "/127.0.0.1".into(),
                    require_known_member: version >= 4,
                    supports_skip_assignment: version >= 9,
                    fresh_id: self.fresh.to_string(),
                })
            }
            "sync" => Request::Sync(SyncGroup {
                group,
                member: words[1].to_owned(),
                instance,
                generation: number("gen", 0) as i32,
                protocol_type: options.get("type").map(|name| (*name).to_owned()),
                protocol_name: options.get("protocol").map(|name| (*name).to_owned()),
                assignments: option("assign", "")
                    .split(',')
                    .filter_map(|entry| entry.split_once(':'))
                    .map(|(member, text)| (member.to_owned(), Bytes::copy_from_slice(text.as_bytes())))
                    .collect(),
            }),
            "beat" => Request::Heartbeat(Heartbeat {
                group,
                member: words[1].to_owned(),
                instance,
                generation: number("gen", 0) as i32,
            }),
            "leave" => Request::Leave(LeaveGroup {
                group,
                members: words[1..]
                    .iter()
                    .map(|word| match word.strip_prefix('@') {
                        Some(name) => (String::new(), Some(name.to_owned())),
                        None => ((*word).to_owned(), None),
                    })
                    .collect(),
            }),
            "commit" => Request::OffsetCommit(OffsetCommit {
                group,
                member: option("member", ""),
                instance,
                generation: number("gen", -1) as i32,
                retention_ms: options.get("retention").map(|text| text.parse().unwrap()),
                knows_group_id_not_found: number("v", 9) >= 9,
                topics: words[1..]
                    .iter()
                    .map(|word| {
                        let (place, offset) = word.split_once('@').unwrap();
                        let (topic, partition) = place.split_once('/').unwrap();
                        CommitTopic {
                            name: topic.to_owned(),
                            id: options.get("id").map(|id| topic_id(id)),
                            partitions: vec![CommitPartition {
                                partition: partition.parse().unwrap(),
                                offset: offset.parse().unwrap(),
                                leader_epoch: number("epoch", -1) as i32,
                                metadata: options.get("meta").map(|text| (*text).to_owned()),
                            }],
                        }
                    })
                    .collect(),
            }),
            "fetch" => Request::OffsetFetch(OffsetFetch {
                require_stable: number("stable", 0) != 0,
                group,
                member: options.get("member").map(|member| (*member).to_owned()),
                epoch: number("gen", -1) as i32,
                topics: (words.len() > 1).then(|| {
                    let topic = |(name, partitions)| FetchTopic {
                        name,
                        id: options.get("id").map(|id| topic_id(id)),
                        partitions,
                    };
                    places(&words[1..]).into_iter().map(topic).collect()
                }),
            }),
            "drop-offsets" => Request::OffsetDelete(OffsetDelete { group, topics: places(&words[1..]) }),
            "describe" => Request::Describe(words[1..].iter().map(|word| (*word).to_owned()).collect()),
            "list" => {
                let filter = |name: &str| {
                    option(name, "").split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect()
                };
                Request::List(ListGroups { states: filter("states"), types: filter("types") })
            }
            "consumer" => Request::ConsumerHeartbeat(self.consumer_beat(&words, &options, group, instance)),
            "share" => {
                let epoch = number("epoch", 0) as i32;
                let topics = options.get("topics").copied().or((epoch == 0).then_some("t"));
                Request::ShareHeartbeat(ShareHeartbeat {
                    group,
                    member: words[1].to_owned(),
                    epoch,
                    rack: None,
                    topics: topics.map(|topics| topics.split(',').map(str::to_owned).collect()),
                    client_id: "client".into(),
                    client_host: "/127.0.0.1".into(),
                    settings: GroupSettings { assignment_interval_ms: 0, ..GroupSettings::default() },
                })
            }
            "share-describe" => {
                Request::ShareDescribe(words[1..].iter().map(|word| (*word).to_owned()).collect())
            }
            "consumer-describe" => {
                Request::ConsumerDescribe(words[1..].iter().map(|word| (*word).to_owned()).collect())
            }
            "delete" => Request::Delete(words[1..].iter().map(|word| (*word).to_owned()).collect()),
            _ => return self.command(verb, &words),
        };
        self.labels.push(words[0].to_owned());
        let out = self.shard.handle(RequestId(self.labels.len() as u64 - 1), request, self.now);
        self.perform(out);
        self.tick();
    }

    fn command(&mut self, verb: &str, words: &[&str]) {
        match verb {
            "topics-deleted" => {
                let topics: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                let out = self.shard.topics_deleted(&topics, self.now);
                self.perform(out);
            }
            "wait" => {
                let end = self.now.mono_ms + words[0].parse::<i64>().unwrap();
                while let Some(at) = self.shard.next_deadline_ms().filter(|at| *at <= end) {
                    self.advance_to(at);
                    self.tick();
                }
                self.advance_to(end);
            }
            "hold" => self.holding = true,
            "durable" => {
                self.holding = false;
                while let Some((ticket, deferred)) = self.held.pop_front() {
                    self.durable(ticket, deferred);
                }
            }
            "refuse" => {
                let named = ErrorCode::ALL.iter().find(|error| error.name() == words[0]);
                self.refuse = Some(*named.unwrap());
            }
            "state" => {
                let lines: Vec<String> = self.shard.tables.groups.values().map(show_group).collect();
                lines.iter().for_each(|line| self.say(line));
            }
            "restart" => self.restart(),
            "topics" => {
                let topics = words.iter().map(|word| {
                    let (name, count) = word.split_once(':').unwrap();
                    (name.to_owned(), count.parse().unwrap())
                });
                let version = self.catalog.version + 1;
                self.catalog = Topics { version, topics: topics.collect() };
                self.shard.topics_changed(Arc::new(self.catalog.clone()));
            }
            "policy" => {
                self.config.migration = match words[0] {
                    "disabled" => MigrationPolicy::Disabled,
                    "upgrade" => MigrationPolicy::Upgrade,
                    "downgrade" => MigrationPolicy::Downgrade,
                    _ => MigrationPolicy::Bidirectional,
                };
                self.restart();
            }
            "max-consumers" => {
                self.config.consumer_max_size = words[0].parse().unwrap();
                self.restart();
            }
            "unload" => {
                let out = self.shard.unload(ErrorCode::NotCoordinator, self.now);
                self.perform(out);
            }
            "max-size" => {
                self.config.group_max_size = words[0].parse().unwrap();
                self.restart();
            }
            "delay" => {
                self.config.initial_rebalance_delay_ms = words[0].parse().unwrap();
                self.restart();
            }
            other => panic!("unknown event {other}"),
        }
    }

    fn advance_to(&mut self, mono_ms: i64) {
        self.now.wall_ms += (mono_ms - self.now.mono_ms).max(0);
        self.now.mono_ms = self.now.mono_ms.max(mono_ms);
    }

    fn tick(&mut self) {
        while let Some(out) = self.shard.tick(self.now) {
            self.perform(out);
        }
    }

    /// What a runtime does with an output.
    fn perform(&mut self, out: Output) {
        if let Some(ticket) = out.ticket {
            if let Some(error) = self.refuse.take() {
                self.say(format!("refused {} records", out.records.len()));
                let undone = self.shard.refused(out, error, self.now);
                return self.perform(undone);
            }
            self.shard.accepted(self.log.len() as i64);
            for record in &out.records {
                self.say(show_record(record));
            }
            self.log.extend(out.records);
            self.send(out.replies);
            if self.holding {
                self.held.push_back((ticket, out.deferred));
            } else {
                self.durable(ticket, out.deferred);
            }
            return;
        }
        self.send(out.replies);
        match self.held.back_mut() {
            Some((_, deferred)) => deferred.extend(out.deferred),
            None => self.send(out.deferred),
        }
    }

    fn durable(&mut self, ticket: Ticket, deferred: Vec<Reply>) {
        self.send(deferred);
        let out = self.shard.durable(ticket, self.now);
        self.perform(out);
    }

    fn send(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let label = &self.labels[reply.to.0 as usize];
            let line = format!("{label}: {}", show_reply(&reply.body));
            self.say(line);
        }
    }
}

/// ConsumerProtocolSubscription version 0 with these topics and no user data.
fn subscription(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split(',').filter(|topic| !topic.is_empty()).collect();
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}

fn topic_id(text: &str) -> Uuid {
    Uuid([text.parse().unwrap(); 16])
}

/// `t/0 t/1 u/0` → t: [0, 1], u: [0].
fn places(words: &[&str]) -> Vec<(String, Vec<i32>)> {
    let mut topics: Vec<(String, Vec<i32>)> = Vec::new();
    for word in words {
        let (topic, partition) = word.split_once('/').unwrap();
        let partition = partition.parse().unwrap();
        match topics.iter_mut().find(|(name, _)| name == topic) {
            Some((_, partitions)) => partitions.push(partition),
            None => topics.push((topic.to_owned(), vec![partition])),
        }
    }
    topics
}

fn show_record(record: &Record) -> String {
    match parse(0, &record.key, record.value.as_deref()).unwrap() {
        Parsed::Offset { group, topic, partition, value: Some(value) } => {
            format!("+ {group} {topic}/{partition}{}", show_offset(&value))
        }
        Parsed::Offset { group, topic, partition, value: None } => format!("- {group} {topic}/{partition}"),
        Parsed::Group { group, value: Some(value) } => {
            let members: Vec<String> = value
                .members
                .iter()
                .map(|m| format!("{}:{}", m.member_id, show_bytes(&m.assignment)))
                .collect();
            format!("+ group {group} gen={} [{}]", value.generation, members.join(" "))
        }
        Parsed::Group { group, value: None } => format!("- group {group}"),
        Parsed::Modern { group, change, .. } => format!("{group}: {}", show_change(&change)),
        Parsed::Other => "other".into(),
    }
}

/// An assignment: the text of the script's leader, or what the coordinator wrote for a classic member.
fn show_bytes(bytes: &[u8]) -> String {
    if bytes.first() != Some(&0) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut reader = kafka_codec::wire::Reader::new(bytes);
    let version = reader.i16().unwrap();
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version).unwrap();
    let places = assignment
        .assigned_partitions
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| format!("{}/{index}", topic.topic)));
    format!("<{}>", places.collect::<Vec<_>>().join(" "))
}

fn named(assignment: &NamedAssignment) -> String {
    let topics = assignment.values().map(|(name, partitions)| format!("{name}{partitions:?}"));
    topics.collect::<Vec<_>>().join(" ")
}

fn show_offset(value: &CommittedOffset) -> String {
    let mut text = format!("@{}", value.offset);
    if let Some(epoch) = value.leader_epoch {
        write!(text, " epoch={epoch}").unwrap();
    }
    if !value.metadata.is_empty() {
        write!(text, " meta={}", value.metadata).unwrap();
    }
    text
}

fn show_assignment(assignment: &Assignment) -> String {
    let places: Vec<String> = assignment
        .iter()
        .flat_map(|(topic, partitions)| {
            partitions.iter().map(|index| format!("{}{index}", char::from(topic.0[0])))
        })
        .collect();
    places.join(" ")
}

fn show_change(change: &GroupChange) -> String {
    use crate::modern::plain;
    match change {
        GroupChange::Epoch(Some((epoch, _))) => format!("epoch {epoch}"),
        GroupChange::Epoch(None) => "- epoch".into(),
        GroupChange::PartitionMetadata => "- metadata".into(),
        GroupChange::Member(id, Some(metadata)) => {
            let topics: Vec<&str> = metadata.topics.iter().map(String::as_str).collect();
            let mut text = format!("member {id} [{}]", topics.join(" "));
            if let Some(regex) = &metadata.regex {
                write!(text, " /{regex}/").unwrap();
            }
            if let Some(instance) = &metadata.instance {
                write!(text, " @{instance}").unwrap();
            }
            if metadata.classic.is_some() {
                text.push_str(" classic");
            }
            text
        }
        GroupChange::Member(id, None) => format!("- member {id}"),
        GroupChange::TargetEpoch(Some((epoch, _))) => format!("target epoch {epoch}"),
        GroupChange::TargetEpoch(None) => "- target epoch".into(),
        GroupChange::Target(id, Some(target)) => format!("target {id} [{}]", show_assignment(target)),
        GroupChange::Target(id, None) => format!("- target {id}"),
        GroupChange::Current(id, Some(current)) => {
            let mut text =
                format!("{id} at {} [{}]", current.epoch, show_assignment(&plain(&current.assigned)));
            if !current.pending_revocation.is_empty() {
                write!(text, " gives [{}]", show_assignment(&plain(&current.pending_revocation))).unwrap();
            }
            text
        }
        GroupChange::Current(id, None) => format!("- {id}"),
        GroupChange::Regex(regex, Some(resolved)) => {
            let topics: Vec<&str> = resolved.topics.iter().map(String::as_str).collect();
            format!("/{regex}/ is [{}]", topics.join(" "))
        }
        GroupChange::Regex(regex, None) => format!("- /{regex}/"),
        GroupChange::ShareState(_) => "share state".into(),
    }
}

fn show_group(group: &Group) -> String {
    let group = match group {
        Group::Classic(group) => group,
        Group::Modern(group) => {
            let members: Vec<String> = group
                .members
                .values()
                .map(|member| format!("{}@{}", member.id, member.current.epoch))
                .collect();
            let state = group.state().as_str();
            return format!(
                "{} {state} epoch={}/{} [{}]",
                group.id,
                group.epoch,
                group.target_epoch,
                members.join(" ")
            );
        }
    };
    let members: Vec<&str> = group.members.keys().map(String::as_str).collect();
    format!(
        "{} {} gen={} protocol={} leader={} members=[{}] pending={}",
        group.id,
        group.state.as_str(),
        group.generation,
        group.protocol_name.as_deref().unwrap_or("-"),
        group.leader.as_deref().unwrap_or("-"),
        members.join(" "),
        group.pending_join.len(),
    )
}

fn show_reply(body: &Response) -> String {
    fn outcomes(partitions: &[(i32, ErrorCode)]) -> String {
        let each: Vec<String> = partitions.iter().map(|(p, error)| format!("{p}={}", error.name())).collect();
        each.join(" ")
    }
    match body {
        Response::ShareTopics(told) => format!("share topics {} {:?}", told.error.name(), told.topics),
        Response::Join(joined) if joined.error != ErrorCode::None => {
            format!("{} member={}", joined.error.name(), joined.member)
        }
        Response::Join(joined) => {
            let members: Vec<&str> = joined.members.iter().map(|member| member.member.as_str()).collect();
            format!(
                "joined gen={} protocol={} member={} leader={} members=[{}]{}",
                joined.generation,
                joined.protocol_name.as_deref().unwrap_or("-"),
                joined.member,
                joined.leader,
                members.join(" "),
                if joined.skip_assignment { " skip-assignment" } else { "" },
            )
        }
        Response::Sync(synced) if synced.error != ErrorCode::None => synced.error.name().into(),
        Response::Sync(synced) => format!("assigned {}", show_bytes(&synced.assignment)).trim_end().into(),
        Response::Heartbeat(error) => error.name().into(),
        Response::Leave(left) => {
            let each: Vec<String> = left
                .members
                .iter()
                .map(|(id, instance, error)| {
                    format!(
                        "{id}{}={}",
                        instance.as_deref().map_or(String::new(), |i| format!("@{i}")),
                        error.name()
                    )
                })
                .collect();
            format!("left {} {}", left.error.name(), each.join(" ")).trim_end().into()
        }
        Response::OffsetCommit(committed) => {
            let each: Vec<String> = committed
                .topics
                .iter()
                .map(|topic| format!("{}[{}]", topic.name, outcomes(&topic.partitions)))
                .collect();
            format!("committed {}", each.join(" "))
        }
        Response::OffsetFetch(fetched) if fetched.error != ErrorCode::None => fetched.error.name().into(),
        Response::OffsetFetch(fetched) => {
            let mut each = Vec::new();
            for topic in &fetched.topics {
                for (partition, error, value) in &topic.partitions {
                    assert_eq!(*error, ErrorCode::None);
                    let value = value.as_ref().map_or("@none".into(), show_offset);
                    each.push(format!("{}/{partition}{value}", topic.name));
                }
            }
            format!("offsets {}", each.join(" ")).trim_end().into()
        }
        Response::OffsetDelete(deleted) => {
            let each: Vec<String> = deleted
                .topics
                .iter()
                .map(|(topic, partitions)| format!("{topic}[{}]", outcomes(partitions)))
                .collect();
            format!("dropped {} {}", deleted.error.name(), each.join(" ")).trim_end().into()
        }
        Response::Describe(groups) => {
            let each: Vec<String> = groups
                .iter()
                .map(|group| {
                    let members: Vec<String> = group
                        .members
                        .iter()
                        .map(|m| {
                            format!(
                                "{}:{}:{}",
                                m.member,
                                m.metadata.len(),
                                String::from_utf8_lossy(&m.assignment)
                            )
                        })
                        .collect();
                    format!(
                        "{} {} {} {}/{} [{}]",
                        group.group,
                        group.error.name(),
                        group.state,
                        group.protocol_type,
                        group.protocol,
                        members.join(" ")
                    )
                })
                .collect();
            format!("described {}", each.join("; "))
        }
        Response::List(listed) => {
            let each: Vec<String> = listed
                .groups
                .iter()
                .map(|group| {
                    format!("{}:{}:{}:{}", group.group, group.protocol_type, group.state, group.group_type)
                })
                .collect();
            format!("listed {}", each.join(" ")).trim_end().into()
        }
        Response::ModernHeartbeat(answer) if answer.error != ErrorCode::None => answer.error.name().into(),
        Response::ModernHeartbeat(answer) => {
            let mut text = format!("{} at {}", answer.member.as_deref().unwrap_or("-"), answer.epoch);
            if let Some(assignment) = &answer.assignment {
                write!(text, " has [{}]", show_assignment(assignment)).unwrap();
            }
            text
        }
        Response::DescribeModern(groups) => {
            let each: Vec<String> = groups
                .iter()
                .map(|group| {
                    if group.error != ErrorCode::None {
                        return format!("{} {}", group.group, group.error.name());
                    }
                    let members: Vec<String> = group
                        .members
                        .iter()
                        .map(|m| {
                            format!(
                                "{}@{} [{}]->[{}]",
                                m.member,
                                m.epoch,
                                named(&m.assignment),
                                named(&m.target)
                            )
                        })
                        .collect();
                    let (epoch, target) = (group.epoch, group.target_epoch);
                    format!(
                        "{} {} {epoch}/{target} {} {}",
                        group.group,
                        group.state,
                        group.assignor,
                        members.join("; ")
                    )
                })
                .collect();
            format!("described {}", each.join("; ")).trim_end().into()
        }
        Response::Delete(groups) => {
            let each: Vec<String> =
                groups.iter().map(|(group, error)| format!("{group}={}", error.name())).collect();
            format!("deleted {}", each.join(" "))
        }
    }
}

#[test]
fn states_follow_kafkas_diagram() {
    use ClassicState::*;
    let all = [Empty, PreparingRebalance, CompletingRebalance, Stable, Dead];
    let allowed: Vec<(ClassicState, ClassicState)> = all
        .iter()
        .flat_map(|from| all.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| *to != Dead && from.may_become(*to))
        .collect();
    assert_eq!(
        allowed,
        [
            (Empty, PreparingRebalance),
            (PreparingRebalance, Empty),
            (PreparingRebalance, CompletingRebalance),
            (CompletingRebalance, PreparingRebalance),
            (CompletingRebalance, Stable),
            (Stable, PreparingRebalance),
        ]
    );
}
