//! The target assignment: computed anew when the group's epoch is ahead of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assignor::{self, GroupSpec, MemberSpec};
use super::change::{GroupChange, Kind, ResolvedRegex};
use super::group::ModernGroup;
use super::member::{Assignment, ModernMember};
use super::topics::TopicCatalog;
use crate::shard::Cx;
use crate::timers::TimerKey;

/// A member as it will be, and the regular expressions just resolved.
#[derive(Clone, Copy)]
pub(super) struct Update<'a> {
    pub member: &'a ModernMember,
    pub regexes: &'a [(String, ResolvedRegex)],
}

/// Computes the target of `epoch`, unless the last one was computed less than `interval_ms` ago: then a deadline is set
/// for it. Answers whether it was computed, and `member`'s part.
pub(super) fn update(
    group: &ModernGroup,
    update: Option<Update<'_>>,
    epoch: i32,
    interval_ms: i32,
    topics: &dyn TopicCatalog,
    cx: &mut Cx<'_>,
) -> Option<Arc<Assignment>> {
    let since = cx.now.wall_ms - group.target_ms;
    let interval_ms = i64::from(interval_ms);
    if group.target_ms != 0 && (0..interval_ms).contains(&since) {
        let key = TimerKey::Assign { group: group.id.clone() };
        cx.timers.arm(key, cx.now.mono_ms + interval_ms - since);
        return None;
    }
    cx.timers.cancel(&TimerKey::Assign { group: group.id.clone() });
    let changed = update.map(|update| {
        let metadata = &update.member.metadata;
        (update.member.id.as_str(), metadata.assignor.as_deref())
    });
    let name = match group.kind {
        Kind::Share => assignor::SIMPLE.to_owned(),
        Kind::Consumer => {
            let default = cx.config.consumer_assignors.first().map_or(assignor::UNIFORM, String::as_str);
            group.preferred_assignor(changed, default)
        }
    };
    let spec = spec(group, update, topics);
    let result = assignor::assign(&name, &spec).unwrap_or_default();
    let mut own = None;
    for (id, assignment) in result {
        let assignment = Arc::new(assignment);
        if update.is_some_and(|update| update.member.id == id) {
            own = Some(Arc::clone(&assignment));
        }
        if group.target.get(&id) != Some(&assignment) {
            cx.change(group, GroupChange::Target(id, Some(assignment)));
        }
    }
    cx.change(group, GroupChange::TargetEpoch(Some((epoch, cx.now.wall_ms))));
    Some(own.unwrap_or_default())
}

fn spec(group: &ModernGroup, update: Option<Update<'_>>, topics: &dyn TopicCatalog) -> GroupSpec {
    let mut spec = GroupSpec::default();
    let mut known: BTreeMap<String, Option<(kafka_codec::Uuid, i32)>> = BTreeMap::new();
    let others = group.members.values().map(|member| &**member);
    let others = others.filter(|member| update.is_none_or(|update| update.member.id != member.id));
    for member in others.chain(update.map(|update| update.member)) {
        let names = group.topics_of(member, update.map_or(&[][..], |update| update.regexes));
        let mut ids = std::collections::BTreeSet::new();
        for name in names {
            let topic = known
                .entry(name)
                .or_insert_with_key(|name| topics.by_name(name).map(|topic| (topic.id, topic.partitions)));
            if let Some((id, partitions)) = topic {
                ids.insert(*id);
                spec.partitions.insert(*id, *partitions);
            }
        }
        let assigned = group.target.get(&member.id).cloned().unwrap_or_default();
        let instance = member.metadata.instance.clone();
        spec.members.insert(member.id.clone(), MemberSpec { instance, topics: ids, assigned });
    }
    spec
}
