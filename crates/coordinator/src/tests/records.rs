//! Records as Apache Kafka 4.3.1 wrote them into `__consumer_offsets`: read, and written again byte for byte.

use super::*;
use crate::records::{group_record, new_group_record, offset_record};

/// `group p1` with one console consumer, a group before its first generation, after its last, and an offset.
const NEW_GROUP: (&str, &str) = ("0002000467727031", "0003000000000000ffffffff000001a1fd7cc46500000000");
const STABLE_GROUP: (&str, &str) = (
    "0002000467727031",
    "00030008636f6e73756d657200000001000572616e67650035636f6e736f6c652d636f6e73756d65722d39646532613565392d34663631\
     2d343462652d383936662d316335373539333165363530000001a1fd7cc468000000010035636f6e736f6c652d636f6e73756d65722d39\
     646532613565392d346636312d343462652d383936662d316335373539333165363530ffff0010636f6e736f6c652d636f6e73756d6572\
     000a2f3132372e302e302e31000493e00000afc80000001800030000000100027031ffffffff00000000ffffffffffff00000016000300\
     000001000270310000000100000000ffffffff",
);
const EMPTIED_GROUP: (&str, &str) =
    ("0002000467727031", "00030008636f6e73756d657200000002ffffffff000001a1fd7cc4ec00000000");
const OFFSET: (&str, &str) = (
    "00010004677270310002703100000000",
    "00040000000000000003ffffffff01000001a1fd7cc4de0100100896809b424043e28818292b3291d841",
);

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn record((key, value): (&str, &str)) -> Record {
    Record { key: bytes(key), value: Some(bytes(value)) }
}

fn replayed(records: &[Record]) -> GroupShard {
    let mut shard = GroupShard::new(GroupCoordinatorConfig::default());
    for (offset, record) in records.iter().enumerate() {
        shard.replay(offset as i64, &record.key, record.value.as_deref()).unwrap();
    }
    shard
}

fn the_group(shard: &GroupShard) -> &crate::classic::ClassicGroup {
    let Group::Classic(group) = &shard.tables.groups["grp1"] else { panic!("not classic") };
    group
}

#[test]
fn kafkas_groups_are_read_and_written_alike() {
    let stable = record(STABLE_GROUP);
    let shard = replayed(&[record(NEW_GROUP), stable.clone()]);
    let group = the_group(&shard);
    assert_eq!(
        show_group(&shard.tables.groups["grp1"]),
        format!(
            "grp1 Stable gen=1 protocol=range leader={leader} members=[{leader}] pending=0",
            leader = "console-consumer-9de2a5e9-4f61-44be-896f-1c575931e650"
        )
    );
    let member = group.members.values().next().unwrap();
    assert_eq!((member.session_timeout_ms, member.rebalance_timeout_ms), (45_000, 300_000));
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("console-consumer", "/127.0.0.1"));
    assert!(group.is_subscribed_to("p1") && !group.is_subscribed_to("p2"));
    assert_eq!(group_record(group, None).unwrap(), stable);

    let emptied = record(EMPTIED_GROUP);
    let shard = replayed(&[stable, emptied.clone()]);
    assert_eq!(
        show_group(&shard.tables.groups["grp1"]),
        "grp1 Empty gen=2 protocol=- leader=- members=[] pending=0"
    );
    assert_eq!(group_record(the_group(&shard), None).unwrap(), emptied);

    let new = record(NEW_GROUP);
    let shard = replayed(std::slice::from_ref(&new));
    assert_eq!(new_group_record("grp1", the_group(&shard).state_since_ms).unwrap(), new);
}

#[test]
fn kafkas_offsets_are_read_and_written_alike() {
    let kafkas = record(OFFSET);
    let shard = replayed(std::slice::from_ref(&kafkas));
    let stored = shard.tables.offsets.get("grp1", "p1", 0).unwrap();
    assert_eq!((stored.offset, stored.leader_epoch, stored.expire_ms), (3, None, None));
    assert_eq!(stored.topic_id.unwrap().to_string(), "CJaAm0JAQ-KIGCkrMpHYQQ");
    assert_eq!(offset_record("grp1", "p1", 0, Some(stored)).unwrap(), kafkas);
}

#[test]
fn old_and_strange_records_do_no_harm() {
    let mut shard = GroupShard::new(GroupCoordinatorConfig::default());
    // Key version 0, value version 1 with an expiry time.
    let key = bytes("0000 0001 67 0001 74 00000002");
    let value = bytes("0001 0000000000000007 0001 6d 0000000000000064 00000000000000c8");
    shard.replay(9, &key, Some(&value)).unwrap();
    let stored = shard.tables.offsets.get("g", "t", 2).unwrap();
    assert_eq!(
        (stored.offset, stored.metadata.as_str(), stored.commit_ms, stored.expire_ms, stored.record_offset),
        (7, "m", 100, Some(200), 9)
    );
    // A newer group type is passed over.
    shard.replay(10, &bytes("0011 0001 67"), Some(&bytes("0000 00000001"))).unwrap();
    assert_eq!(shard.tables.groups.len(), 1);
    // Torn and contradictory ones are errors, and change nothing.
    let stable = record(STABLE_GROUP);
    let value = stable.value.unwrap();
    for end in 0..value.len() {
        assert!(shard.replay(11, &stable.key, Some(&value[..end])).is_err(), "{end}");
    }
    assert!(shard.replay(11, &bytes("00"), None).is_err());
    assert!(shard.replay(11, &bytes("0001 0001"), None).is_err());
    assert_eq!(shard.tables.groups.len(), 1);
    shard.replay(12, &key, None).unwrap();
    assert!(shard.tables.offsets.get("g", "t", 2).is_none());
}
