//! Scripts: lines that begin with `>` are events, the lines after them what the shard did. [`check`] runs the
//! events and compares the whole transcript, so a test reads as a conversation and is extended by a line.
//!
//! Events: `join LABEL CLIENT [member= instance= protocols=a,b type= v= session= rebalance= topics= group=]`,
//! `sync LABEL MEMBER gen= [assign=M:TEXT,…]`, `beat LABEL MEMBER gen=`, `leave LABEL MEMBER…` (`@name` for a
//! static member), `commit LABEL [member= gen=] TOPIC/PARTITION@OFFSET…`, `fetch LABEL [TOPIC/PARTITION…]`,
//! `drop-offsets LABEL TOPIC/PARTITION…`, `describe LABEL GROUP…`, `list LABEL [states= types=]`,
//! `delete LABEL GROUP…`, `topics-deleted TOPIC…`, `wait MS`, `hold` / `durable` (records stay undurable between),
//! `refuse ERROR` (of the next append), `state`, `restart`, `max-size N`, `delay MS`.

mod admin;
mod failures;
mod offsets;
mod random;
mod rebalance;
mod records;
mod static_members;

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;

use bytes::Bytes;
use kafka_codec::ErrorCode;

use crate::classic::ClassicState;
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
}

impl Bench {
    fn new() -> Self {
        let config = GroupCoordinatorConfig { initial_rebalance_delay_ms: 0, ..Default::default() };
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
        let out = self.shard.loaded(self.now);
        self.perform(out);
    }

    fn run(&mut self, event: &str) {
        let mut words = event.split_whitespace();
        let verb = words.next().unwrap();
        let (options, words): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.contains('=') && !word.contains('/'));
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
                .map(|m| format!("{}:{}", m.member_id, String::from_utf8_lossy(&m.assignment)))
                .collect();
            format!("+ group {group} gen={} [{}]", value.generation, members.join(" "))
        }
        Parsed::Group { group, value: None } => format!("- group {group}"),
        Parsed::Other => "other".into(),
    }
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

fn show_group(group: &Group) -> String {
    let Group::Classic(group) = group;
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
        Response::Sync(synced) => {
            format!("assigned {}", String::from_utf8_lossy(&synced.assignment)).trim_end().into()
        }
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
