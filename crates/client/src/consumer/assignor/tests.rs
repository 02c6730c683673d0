use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn member(id: &str, topics: &[&str]) -> Subscription {
    Subscription {
        member_id: id.to_owned(),
        topics: topics.iter().map(|t| (*t).to_owned()).collect(),
        generation: -1,
        ..Subscription::default()
    }
}

fn topics(counts: &[(&str, i32)]) -> BTreeMap<String, i32> {
    counts.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect()
}

/// `member: topic-partition …`, one member a line.
fn show(assignment: &Assignment) -> String {
    let lines = assignment.iter().map(|(member, partitions)| {
        let partitions: Vec<_> = partitions.iter().map(ToString::to_string).collect();
        format!("{member}: {}", partitions.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Lets members hold what an assignment gave them.
fn hold(members: &mut [Subscription], assignment: &Assignment, generation: i32) {
    for member in members {
        member.owned = assignment.get(&member.member_id).cloned().unwrap_or_default();
        member.generation = generation;
    }
}

/// The example of the documentation of Java's `RangeAssignor`.
#[test]
fn range_gives_the_first_members_more() {
    let members = [member("C0", &["t0", "t1"]), member("C1", &["t0", "t1"])];
    let assignment = assign(AssignorKind::Range, &topics(&[("t0", 3), ("t1", 3)]), &members);
    assert_eq!(show(&assignment), "C0: t0-0 t0-1 t1-0 t1-1\nC1: t0-2 t1-2");
}

#[test]
fn range_orders_static_members_first_and_by_instance() {
    let mut members = [member("a", &["t"]), member("b", &["t"]), member("c", &["t"])];
    members[2].group_instance_id = Some("1".to_owned());
    members[1].group_instance_id = Some("2".to_owned());
    let assignment = assign(AssignorKind::Range, &topics(&[("t", 4)]), &members);
    assert_eq!(show(&assignment), "a: t-3\nb: t-2\nc: t-0 t-1");
}

/// Both examples of the documentation of Java's `RoundRobinAssignor`.
#[test]
fn round_robin_deals_in_turn() {
    let members = [member("C0", &["t0", "t1"]), member("C1", &["t0", "t1"])];
    let assignment = assign(AssignorKind::RoundRobin, &topics(&[("t0", 3), ("t1", 3)]), &members);
    assert_eq!(show(&assignment), "C0: t0-0 t0-2 t1-1\nC1: t0-1 t1-0 t1-2");

    let members = [member("C0", &["t0"]), member("C1", &["t0", "t1"]), member("C2", &["t0", "t1", "t2"])];
    let assignment = assign(AssignorKind::RoundRobin, &topics(&[("t0", 1), ("t1", 2), ("t2", 3)]), &members);
    assert_eq!(show(&assignment), "C0: t0-0\nC1: t1-0\nC2: t1-1 t2-0 t2-1 t2-2");
}

/// Three members, four topics of two partitions; then C1 leaves. What Kafka 4.3.1's assignors answer.
#[test]
fn sticky_keeps_what_it_can() {
    let all = ["t0", "t1", "t2", "t3"];
    let counts = topics(&[("t0", 2), ("t1", 2), ("t2", 2), ("t3", 2)]);
    let mut members = vec![member("C0", &all), member("C1", &all), member("C2", &all)];
    let first = assign(AssignorKind::Sticky, &counts, &members);
    assert_eq!(show(&first), "C0: t0-0 t1-1 t3-0\nC1: t0-1 t2-0 t3-1\nC2: t1-0 t2-1");

    hold(&mut members, &first, 1);
    members.remove(1);
    let second = assign(AssignorKind::Sticky, &counts, &members);
    assert_eq!(show(&second), "C0: t0-0 t1-1 t3-0 t0-1\nC2: t1-0 t2-1 t2-0 t3-1");
}

/// The second example: the members want different topics.
#[test]
fn sticky_with_different_subscriptions() {
    let counts = topics(&[("t0", 1), ("t1", 2), ("t2", 3)]);
    let mut members =
        vec![member("C0", &["t0"]), member("C1", &["t0", "t1"]), member("C2", &["t0", "t1", "t2"])];
    let first = assign(AssignorKind::Sticky, &counts, &members);
    assert_eq!(show(&first), "C0: t0-0\nC1: t1-0 t1-1\nC2: t2-0 t2-1 t2-2");
    hold(&mut members, &first, 1);
    members.remove(0);
    let second = assign(AssignorKind::Sticky, &counts, &members);
    assert_eq!(show(&second), "C1: t1-0 t1-1 t0-0\nC2: t2-0 t2-1 t2-2");
}

#[test]
fn two_claims_of_one_generation_are_both_void_and_older_ones_lose() {
    let mut members = [member("A", &["t"]), member("B", &["t"]), member("C", &["t"])];
    members[0].owned = vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    members[0].generation = 5;
    members[1].owned = vec![TopicPartition::new("t", 1)];
    members[1].generation = 5;
    members[2].owned = vec![TopicPartition::new("t", 0)];
    members[2].generation = 4;
    let assignment = assign(AssignorKind::Sticky, &topics(&[("t", 3)]), &members);
    assert_eq!(assignment["A"], [TopicPartition::new("t", 0)], "{}", show(&assignment));
}

#[test]
fn cooperative_hands_over_in_two_steps() {
    let counts = topics(&[("t", 4)]);
    let mut members = vec![member("A", &["t"])];
    let first = assign(AssignorKind::CooperativeSticky, &counts, &members);
    assert_eq!(show(&first), "A: t-0 t-1 t-2 t-3");
    hold(&mut members, &first, 1);
    members.push(member("B", &["t"]));
    let second = assign(AssignorKind::CooperativeSticky, &counts, &members);
    assert_eq!(show(&second), "A: t-0 t-1\nB: ", "A gives up two first");
    hold(&mut members, &second, 2);
    let third = assign(AssignorKind::CooperativeSticky, &counts, &members);
    assert_eq!(show(&third), "A: t-0 t-1\nB: t-2 t-3");
}

#[test]
fn user_data_is_javas() {
    let held = [TopicPartition::new("ab", 1), TopicPartition::new("ab", 3), TopicPartition::new("c", 0)];
    let bytes = sticky_user_data(&held, 7);
    let expected = b"\0\0\0\x02\0\x02ab\0\0\0\x02\0\0\0\x01\0\0\0\x03\0\x01c\0\0\0\x01\0\0\0\0\0\0\0\x07";
    assert_eq!(&bytes[..], expected);
    assert_eq!(read_sticky_user_data(&bytes), Some((held.to_vec(), 7)));
    assert_eq!(read_sticky_user_data(&bytes[..bytes.len() - 4]), Some((held.to_vec(), -1)), "version 0");
    assert_eq!(read_cooperative_user_data(&cooperative_user_data(9)), Some(9));
}

fn arbitrary_group() -> impl Strategy<Value = (BTreeMap<String, i32>, Vec<Subscription>)> {
    let counts = proptest::collection::vec(0..9_i32, 1..5);
    let wants = proptest::collection::vec(proptest::collection::vec(any::<bool>(), 5), 1..7);
    (counts, wants).prop_map(|(counts, wants)| {
        let names: Vec<String> = (0..counts.len()).map(|i| format!("t{i}")).collect();
        let members = wants
            .iter()
            .enumerate()
            .map(|(i, wants)| {
                let topics: Vec<&str> =
                    names.iter().zip(wants).filter(|(_, w)| **w).map(|(n, _)| n.as_str()).collect();
                member(&format!("m{i}"), &topics)
            })
            .collect();
        (names.iter().cloned().zip(counts.iter().copied()).collect(), members)
    })
}

/// Every partition of every wanted topic once, to somebody who wants it.
fn check_complete(counts: &BTreeMap<String, i32>, members: &[Subscription], assignment: &Assignment) {
    let mut seen: HashMap<TopicPartition, &str> = HashMap::new();
    for member in members {
        for partition in &assignment[&member.member_id] {
            assert!(member.topics.contains(&*partition.topic), "{partition} for {}", member.member_id);
            assert!((0..counts[&*partition.topic]).contains(&partition.partition));
            assert_eq!(seen.insert(partition.clone(), &member.member_id), None, "{partition} given twice");
        }
    }
    let wanted: i32 = counts
        .iter()
        .filter(|(topic, _)| members.iter().any(|m| m.topics.contains(*topic)))
        .map(|(_, n)| n)
        .sum();
    assert_eq!(seen.len(), wanted as usize);
}

proptest! {
    #[test]
    fn everything_is_assigned_once((counts, mut members) in arbitrary_group(), leaver in any::<prop::sample::Index>()) {
        for kind in [AssignorKind::Range, AssignorKind::RoundRobin, AssignorKind::Sticky, AssignorKind::CooperativeSticky] {
            let assignment = assign(kind, &counts, &members);
            check_complete(&counts, &members, &assignment);
        }
        // Sticky: nothing moves when nothing changed, and when a member leaves the others keep all they had.
        let first = assign(AssignorKind::Sticky, &counts, &members);
        hold(&mut members, &first, 1);
        let again = assign(AssignorKind::Sticky, &counts, &members);
        for (member, held) in &first {
            let (mut a, mut b) = (held.clone(), again[member].clone());
            a.sort();
            b.sort();
            prop_assert_eq!(a, b);
        }
        if members.len() > 1 && members.windows(2).all(|w| w[0].topics == w[1].topics) {
            members.remove(leaver.index(members.len()));
            let second = assign(AssignorKind::Sticky, &counts, &members);
            check_complete(&counts, &members, &second);
            for member in &members {
                prop_assert!(member.owned.iter().all(|p| second[&member.member_id].contains(p)));
            }
        }
        // Cooperative: gives nobody what another still holds, and comes to rest complete.
        for round in 2..6 {
            let assignment = assign(AssignorKind::CooperativeSticky, &counts, &members);
            for (id, got) in &assignment {
                for p in got {
                    prop_assert!(!members.iter().any(|m| m.member_id != *id && m.owned.contains(p)));
                }
            }
            hold(&mut members, &assignment, round);
        }
        let last = assign(AssignorKind::CooperativeSticky, &counts, &members);
        check_complete(&counts, &members, &last);
    }

    #[test]
    fn equal_subscriptions_differ_by_one_at_most(count in 0..40_i32, n in 1..9_usize) {
        let members: Vec<_> = (0..n).map(|i| member(&format!("m{i}"), &["t"])).collect();
        let assignment = assign(AssignorKind::Sticky, &topics(&[("t", count)]), &members);
        let loads: Vec<usize> = assignment.values().map(Vec::len).collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
    }

    #[test]
    fn any_user_data_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_sticky_user_data(&bytes);
        let _ = read_cooperative_user_data(&bytes);
    }
}
