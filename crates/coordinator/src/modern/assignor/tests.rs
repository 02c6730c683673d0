use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_codec::Uuid;
use proptest::prelude::*;

use super::*;

fn topic(n: u8) -> Uuid {
    Uuid([n; 16])
}

fn spec(partitions: &[i32], members: &[(&str, &[u8])]) -> GroupSpec {
    GroupSpec {
        members: members
            .iter()
            .map(|(id, topics)| {
                let topics = topics.iter().map(|n| topic(*n)).collect();
                ((*id).to_owned(), MemberSpec { topics, ..MemberSpec::default() })
            })
            .collect(),
        partitions: partitions.iter().zip(1..).map(|(count, n)| (topic(n), *count)).collect(),
    }
}

fn show(assignments: &BTreeMap<String, Assignment>) -> String {
    let member = |(id, assignment): (&String, &Assignment)| {
        let topics: Vec<String> =
            assignment.iter().map(|(topic, partitions)| format!("{}{partitions:?}", topic.0[0])).collect();
        format!("{id}: {}", topics.join(" "))
    };
    assignments.iter().map(member).collect::<Vec<_>>().join("; ")
}

fn check(name: &str, spec: &GroupSpec, expected: &str) {
    assert_eq!(show(&assign(name, spec).unwrap()), expected);
}

fn again(spec: &mut GroupSpec, name: &str) {
    for (id, assignment) in assign(name, spec).unwrap() {
        if let Some(member) = spec.members.get_mut(&id) {
            member.assigned = Arc::new(assignment);
        }
    }
}

#[test]
fn range_gives_runs_and_keeps_topics_together() {
    check(RANGE, &spec(&[3, 2], &[("a", &[1, 2]), ("b", &[1, 2])]), "a: 1{0, 1} 2{0}; b: 1{2} 2{1}");
    check(
        RANGE,
        &spec(&[3, 2], &[("a", &[1]), ("b", &[2]), ("c", &[1, 2])]),
        "a: 1{0, 1}; b: 2{0}; c: 1{2} 2{1}",
    );
    check(RANGE, &spec(&[2], &[("a", &[1]), ("b", &[1]), ("c", &[1])]), "a: 1{0}; b: 1{1}; c: ");
}

#[test]
fn range_puts_static_members_first() {
    let mut spec = spec(&[3], &[("a", &[1]), ("z", &[1])]);
    spec.members.get_mut("z").unwrap().instance = Some("i".into());
    check(RANGE, &spec, "a: 1{2}; z: 1{0, 1}");
}

#[test]
fn uniform_is_even_and_sticky() {
    let mut group = spec(&[3, 2], &[("a", &[1, 2]), ("b", &[1, 2])]);
    check(UNIFORM, &group, "a: 1{0, 1, 2}; b: 2{0, 1}");
    again(&mut group, UNIFORM);
    group.members.insert("c".into(), group.members["a"].clone());
    group.members.get_mut("c").unwrap().assigned = Arc::default();
    check(UNIFORM, &group, "a: 1{0, 1}; b: 2{0, 1}; c: 1{2}");
}

#[test]
fn simple_shares_partitions() {
    check(SIMPLE, &spec(&[2], &[("a", &[1]), ("b", &[1]), ("c", &[1])]), "a: 1{0}; b: 1{1}; c: 1{0}");
    check(SIMPLE, &spec(&[3], &[("a", &[1]), ("b", &[1])]), "a: 1{0, 1}; b: 1{2}");
}

fn any_spec() -> impl Strategy<Value = GroupSpec> {
    let member = (proptest::collection::btree_set(1..5_u8, 0..4), any::<bool>());
    (proptest::collection::vec(0..7_i32, 4), proptest::collection::vec(member, 1..7)).prop_map(
        |(counts, members)| GroupSpec {
            members: members
                .into_iter()
                .enumerate()
                .map(|(at, (topics, _))| {
                    let topics = topics.into_iter().map(topic).collect();
                    (format!("m{at}"), MemberSpec { topics, ..MemberSpec::default() })
                })
                .collect(),
            partitions: counts.into_iter().zip(1..).map(|(count, n)| (topic(n), count)).collect(),
        },
    )
}

fn places(assignment: &Assignment) -> impl Iterator<Item = (Uuid, i32)> {
    assignment.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |index| (*topic, *index)))
}

proptest! {
    #[test]
    fn every_partition_has_one_subscriber(spec in any_spec(), range in any::<bool>(), gone in 0..6_usize) {
        let name = if range { RANGE } else { UNIFORM };
        let mut spec = spec;
        for round in 0..2 {
            let result = assign(name, &spec).unwrap();
            let mut owner = BTreeMap::new();
            for (id, assignment) in &result {
                for place in places(assignment) {
                    prop_assert!(spec.members[id].topics.contains(&place.0));
                    prop_assert!(owner.insert(place, id).is_none(), "{place:?} twice");
                }
            }
            let wanted: usize = spec
                .partitions
                .iter()
                .filter(|(topic, _)| spec.members.values().any(|member| member.topics.contains(*topic)))
                .map(|(_, count)| *count as usize)
                .sum();
            prop_assert_eq!(owner.len(), wanted);
            if !range {
                // No partition could move to a member with two less.
                let load = |id: &String| places(&result[id]).count();
                for (place, from) in &owner {
                    for (to, member) in &spec.members {
                        let movable = member.topics.contains(&place.0);
                        prop_assert!(!movable || load(to) + 2 > load(from), "{place:?} from {from} to {to}");
                    }
                }
            }
            if round == 0 {
                again(&mut spec, name);
                let gone = format!("m{gone}");
                if spec.members.len() > 1 {
                    spec.members.remove(&gone);
                }
            }
        }
    }

    #[test]
    fn nothing_moves_without_a_reason(spec in any_spec()) {
        let mut spec = spec;
        let first = assign(UNIFORM, &spec).unwrap();
        again(&mut spec, UNIFORM);
        prop_assert_eq!(first, assign(UNIFORM, &spec).unwrap());
    }

    #[test]
    fn simple_leaves_no_partition_and_no_member_out(spec in any_spec()) {
        let mut spec = spec;
        for _ in 0..2 {
            let result = assign(SIMPLE, &spec).unwrap();
            for (topic, count) in &spec.partitions {
                for index in 0..*count {
                    let wanted = spec.members.values().any(|member| member.topics.contains(topic));
                    let has = |a: &Assignment| a.get(topic).is_some_and(|partitions| partitions.contains(&index));
                    prop_assert_eq!(wanted, result.values().any(has));
                }
            }
            for (id, member) in &spec.members {
                let can = member.topics.iter().any(|topic| spec.partitions_of(*topic) > 0);
                prop_assert_eq!(can, places(&result[id]).count() > 0);
            }
            again(&mut spec, SIMPLE);
        }
    }
}
