//! JoinGroup.

use bytes::Bytes;
use kafka_codec::ErrorCode;

use super::{ClassicGroup, ClassicState, Member};
use crate::output::RequestId;
use crate::records::group_record;
use crate::reply::{Joined, Response, Synced};
use crate::request::JoinGroup;
use crate::shard::{Cx, Effect};

/// A static member came back under a new id while the group is stable; undone if that cannot be stored.
#[derive(Clone, Debug)]
pub(crate) struct StaticReplacement {
    pub group: String,
    pub instance: String,
    pub new_member: String,
    /// The member as it was.
    pub old: Box<Member>,
    pub old_leader: String,
    pub supports_skip_assignment: bool,
}

impl ClassicGroup {
    pub fn join(&mut self, request: RequestId, join: JoinGroup, cx: &mut Cx<'_>) {
        if !self.accepts(&join.member, cx) {
            self.answer_join(&join.member.clone(), Joined::failed(ErrorCode::GroupMaxSizeReached, ""), cx);
            self.remove(&join.member, cx);
            cx.reply(request, Response::Join(Joined::failed(ErrorCode::GroupMaxSizeReached, "")));
        } else if join.member.is_empty() {
            self.join_unknown(request, join, cx);
        } else {
            self.join_known(request, join, cx);
        }
    }

    /// Group size limit. While preparing, those who wait are counted, so that a group that was allowed to grow
    /// larger sheds its last members.
    fn accepts(&self, member: &str, cx: &Cx<'_>) -> bool {
        let size_max = cx.config.group_max_size;
        match self.state {
            ClassicState::Empty | ClassicState::Dead => true,
            ClassicState::PreparingRebalance => {
                self.members.get(member).is_some_and(|found| found.awaiting_join.is_some())
                    || self.awaiting_join_count() < size_max
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(member) || self.members.len() < size_max
            }
        }
    }

    fn join_unknown(&mut self, request: RequestId, join: JoinGroup, cx: &mut Cx<'_>) {
        if !self.supports_protocols(&join.protocol_type, &join.protocols) {
            let answer = Joined::failed(ErrorCode::InconsistentGroupProtocol, "");
            return cx.reply(request, Response::Join(answer));
        }
        let prefix = join.instance.as_deref().unwrap_or(&join.client_id);
        let new_id = format!("{prefix}-{}", join.fresh_id);
        if let Some(instance) = join.instance.clone() {
            return match self.static_members.get(&instance).cloned() {
                Some(old_id) => self.replace_static(request, join, instance, &old_id, &new_id, cx),
                None => self.add_then_rebalance(request, join, new_id, cx),
            };
        }
        if !join.require_known_member {
            return self.add_then_rebalance(request, join, new_id, cx);
        }
        if self.pending_join.len() >= cx.config.pending_members_max {
            let answer = Joined::failed(ErrorCode::GroupMaxSizeReached, "");
            return cx.reply(request, Response::Join(answer));
        }
        let at = cx.now.mono_ms + i64::from(join.session_timeout_ms);
        cx.timers.arm(self.session_key(&new_id), at);
        cx.reply(request, Response::Join(Joined::failed(ErrorCode::MemberIdRequired, &new_id)));
        self.pending_join.insert(new_id);
    }

    fn join_known(&mut self, request: RequestId, join: JoinGroup, cx: &mut Cx<'_>) {
        let id = join.member.clone();
        let fail = |error| Response::Join(Joined::failed(error, &join.member));
        if !self.supports_protocols(&join.protocol_type, &join.protocols) {
            return cx.reply(request, fail(ErrorCode::InconsistentGroupProtocol));
        }
        if self.pending_join.contains(&id) {
            if join.instance.is_some() {
                // Only dynamic members are ever asked to come back.
                return cx.reply(request, fail(ErrorCode::UnknownMemberId));
            }
            return self.add_then_rebalance(request, join, id, cx);
        }
        if let Err(error) = self.validate_member(&id, join.instance.as_deref()) {
            return cx.reply(request, fail(error));
        }
        let unchanged = self.members.get(&id).is_some_and(|found| found.protocols == join.protocols);
        let is_leader = self.is_leader(&id);
        match self.state {
            ClassicState::PreparingRebalance => self.update_then_rebalance(request, &id, join, cx),
            // It may have missed the answer to its JoinGroup.
            ClassicState::CompletingRebalance if unchanged => {
                let members = if is_leader { self.members_for_leader() } else { Vec::new() };
                cx.reply(request, Response::Join(self.joined(&id, members)));
            }
            // The leader may ask for a new assignment without any change in its own metadata.
            ClassicState::Stable if unchanged && !is_leader => {
                cx.reply(request, Response::Join(self.joined(&id, Vec::new())));
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.update_then_rebalance(request, &id, join, cx);
            }
            ClassicState::Empty | ClassicState::Dead => cx.reply(request, fail(ErrorCode::UnknownMemberId)),
        }
    }

    fn add_then_rebalance(&mut self, request: RequestId, join: JoinGroup, id: String, cx: &mut Cx<'_>) {
        if self.is(ClassicState::PreparingRebalance) && self.previous_state == ClassicState::Empty {
            self.new_member_added = true;
        }
        let member = Member {
            id: id.clone(),
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(request),
            awaiting_sync: None,
            is_new: true,
        };
        self.add(member, &join.protocol_type);
        // A new member does not know its id and cannot send heartbeats; if its client gave up and tries again,
        // only this deadline keeps dead members from piling up in a long rebalance.
        cx.timers.arm(self.session_key(&id), cx.now.mono_ms + cx.config.new_member_join_timeout_ms);
        self.rebalance_or_complete_join(cx);
    }

    fn update_then_rebalance(&mut self, request: RequestId, id: &str, join: JoinGroup, cx: &mut Cx<'_>) {
        self.update(id, join);
        self.await_join(id, request, cx);
        self.rebalance_or_complete_join(cx);
    }

    fn update(&mut self, id: &str, join: JoinGroup) {
        if let Some(member) = self.members.get_mut(id) {
            member.protocols = join.protocols;
            member.rebalance_timeout_ms = join.rebalance_timeout_ms;
            member.session_timeout_ms = join.session_timeout_ms;
        }
    }

    /// A static member starts again with an empty id: it takes the place, and the assignment, of its former
    /// self, which is fenced.
    fn replace_static(
        &mut self,
        request: RequestId,
        join: JoinGroup,
        instance: String,
        old_id: &str,
        new_id: &str,
        cx: &mut Cx<'_>,
    ) {
        let old_leader = self.leader.clone().unwrap_or_default();
        let Some(old) = self.rename_static(&instance, old_id, new_id, ErrorCode::FencedInstanceId, cx) else {
            return cx.reply(request, Response::Join(Joined::failed(ErrorCode::UnknownMemberId, "")));
        };
        let supports_skip_assignment = join.supports_skip_assignment;
        self.touch(new_id, cx);
        self.update(new_id, join);
        self.await_join(new_id, request, cx);
        match self.state {
            ClassicState::Stable if self.select_protocol() == self.protocol_name => {
                let replacement = StaticReplacement {
                    group: self.id.clone(),
                    instance,
                    new_member: new_id.to_owned(),
                    old: Box::new(old),
                    old_leader,
                    supports_skip_assignment,
                };
                cx.record(group_record(self, None), Effect::StaticReplaced(replacement));
            }
            ClassicState::Stable => self.rebalance_or_complete_join(cx),
            // The leader may already be assigning to the old id.
            ClassicState::CompletingRebalance => self.prepare_rebalance(cx),
            _ => self.complete_join_if_all_joined(cx),
        }
    }

    /// Gives the static member a new id; whoever waits under the old one gets `error`. Answers the member as it
    /// was.
    fn rename_static(
        &mut self,
        instance: &str,
        old_id: &str,
        new_id: &str,
        error: ErrorCode,
        cx: &mut Cx<'_>,
    ) -> Option<Member> {
        self.answer_join(old_id, Joined::failed(error, old_id), cx);
        self.answer_sync(old_id, Synced::failed(error), cx);
        let old = self.members.remove(old_id)?;
        cx.timers.cancel(&self.session_key(old_id));
        let renamed = Member { id: new_id.to_owned(), is_new: false, ..old.clone() };
        self.members.insert(new_id.to_owned(), renamed);
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_owned());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.to_owned());
        }
        self.static_members.insert(instance.to_owned(), new_id.to_owned());
        Some(old)
    }

    /// The new id is stored: tell the member.
    pub fn static_replaced(&mut self, done: &StaticReplacement, cx: &mut Cx<'_>) {
        let id = &done.new_member;
        let is_leader = self.is_leader(id);
        let mut answer = self.joined(id, Vec::new());
        if done.supports_skip_assignment {
            if is_leader {
                answer.members = self.members_for_leader();
                answer.skip_assignment = true;
            }
        } else {
            // An old client must not think that it leads and assign anew: it is told the former leader.
            answer.leader = done.old_leader.clone();
        }
        self.answer_join(id, answer, cx);
        // Its deadline may have passed without effect while it waited for us.
        self.touch(id, cx);
    }

    /// The new id could not be stored: the old one stays.
    pub fn static_not_replaced(&mut self, failed: StaticReplacement, error: ErrorCode, cx: &mut Cx<'_>) {
        let StaticReplacement { instance, new_member, old, .. } = failed;
        self.answer_join(&new_member, Joined::failed(error, ""), cx);
        if self.rename_static(&instance, &new_member, &old.id, error, cx).is_some() {
            let id = old.id.clone();
            let restored = Member { awaiting_join: None, awaiting_sync: None, ..*old };
            self.members.insert(id.clone(), restored);
            self.touch(&id, cx);
        }
    }
}
