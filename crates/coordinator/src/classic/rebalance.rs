//! The join phase: from "somebody joined or left" to the next generation.

use kafka_codec::ErrorCode;

use super::{ClassicGroup, ClassicState};
use crate::records::group_record;
use crate::reply::{Joined, Response};
use crate::shard::{Cx, Effect};

impl ClassicGroup {
    /// Begins a rebalance, or, in the middle of one, ends its join phase if nobody is missing.
    pub fn rebalance_or_complete_join(&mut self, cx: &mut Cx<'_>) {
        if self.state.may_become(ClassicState::PreparingRebalance) {
            self.prepare_rebalance(cx);
        } else {
            self.complete_join_if_all_joined(cx);
        }
    }

    pub fn prepare_rebalance(&mut self, cx: &mut Cx<'_>) {
        if self.is(ClassicState::CompletingRebalance) {
            self.fail_assignment(ErrorCode::RebalanceInProgress, cx);
        }
        self.pending_sync.clear();
        cx.timers.cancel(&self.sync_key());
        let is_initial = self.is(ClassicState::Empty);
        self.transition(ClassicState::PreparingRebalance, cx.now.wall_ms);
        if is_initial {
            let delay = cx.config.initial_rebalance_delay_ms;
            let remaining = (self.rebalance_timeout_ms() - delay).max(0);
            self.new_member_added = false;
            self.initial_delay = Some((delay, remaining));
            cx.timers.arm(self.join_key(), cx.now.mono_ms + delay);
        } else if self.has_all_joined() {
            self.complete_join(cx);
        } else {
            cx.timers.arm(self.join_key(), cx.now.mono_ms + self.rebalance_timeout_ms());
        }
    }

    /// During the initial delay more members are awaited even when all known ones have joined.
    pub fn complete_join_if_all_joined(&mut self, cx: &mut Cx<'_>) {
        if self.is(ClassicState::PreparingRebalance)
            && self.previous_state != ClassicState::Empty
            && self.has_all_joined()
        {
            self.complete_join(cx);
        }
    }

    /// The join deadline passed.
    pub fn join_deadline(&mut self, cx: &mut Cx<'_>) {
        if !self.is(ClassicState::PreparingRebalance) {
            return;
        }
        if let Some((delay, remaining)) = self.initial_delay
            && self.new_member_added
            && remaining > 0
        {
            self.new_member_added = false;
            let next_delay = cx.config.initial_rebalance_delay_ms.min(remaining);
            self.initial_delay = Some((next_delay, (remaining - delay).max(0)));
            cx.timers.arm(self.join_key(), cx.now.mono_ms + next_delay);
            return;
        }
        self.complete_join(cx);
    }

    /// Ends the join phase with those who are there. Dynamic members that did not come back are dropped; static
    /// ones keep their place until their session ends.
    pub fn complete_join(&mut self, cx: &mut Cx<'_>) {
        cx.timers.cancel(&self.join_key());
        self.initial_delay = None;
        self.new_member_added = false;
        let missing: Vec<String> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && !member.is_static())
            .map(|member| member.id.clone())
            .collect();
        for id in &missing {
            self.remove(id, cx);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Only static members that did not come back: wait until they do or their sessions end.
            cx.timers.arm(self.join_key(), cx.now.mono_ms + self.rebalance_timeout_ms());
            return;
        }
        self.begin_generation(cx.now.wall_ms);
        if self.is(ClassicState::Empty) {
            cx.record(group_record(self, None), Effect::Emptied);
            return;
        }
        for id in self.member_ids() {
            let members = if self.is_leader(&id) { self.members_for_leader() } else { Vec::new() };
            let answer = self.joined(&id, members);
            self.answer_join(&id, answer, cx);
            self.touch(&id, cx);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.pending_sync.insert(id);
        }
        cx.timers.arm(self.sync_key(), cx.now.mono_ms + self.rebalance_timeout_ms());
    }

    /// Makes sure that the leader is one of those who joined; false if nobody did.
    fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader.as_ref().and_then(|id| self.members.get(id)) else { return false };
        if leader.awaiting_join.is_some() {
            return true;
        }
        match self.members.values().find(|member| member.awaiting_join.is_some()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// A session deadline passed.
    pub fn session_deadline(&mut self, id: &str, cx: &mut Cx<'_>) {
        if self.pending_join.contains(id) {
            self.remove(id, cx);
            if self.is(ClassicState::PreparingRebalance) && self.has_all_joined() {
                self.complete_join(cx);
            }
            return;
        }
        let Some(member) = self.members.get(id) else { return };
        if member.is_excused() {
            return;
        }
        self.drop_member(id, cx);
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => self.rebalance_or_complete_join(cx),
            ClassicState::PreparingRebalance if self.has_all_joined() => self.complete_join(cx),
            _ => {}
        }
    }

    /// Removes a member; if it waits in JoinGroup, it is told to start again.
    pub fn drop_member(&mut self, id: &str, cx: &mut Cx<'_>) {
        self.answer_join(id, Joined::failed(ErrorCode::UnknownMemberId, ""), cx);
        self.remove(id, cx);
    }

    /// This coordinator gives the group up: everybody who waits is told so.
    pub fn unload(&mut self, error: ErrorCode, cx: &mut Cx<'_>) {
        for id in self.member_ids() {
            self.answer_join(&id, Joined::failed(error, &id), cx);
            self.answer_sync(&id, crate::reply::Synced::failed(error), cx);
        }
        self.transition(ClassicState::Dead, cx.now.wall_ms);
    }

    /// The group changes its protocol: everybody who waits is to join again.
    pub fn send_back(&mut self, cx: &mut Cx<'_>) {
        for id in self.member_ids() {
            self.answer_join(&id, Joined::failed(ErrorCode::RebalanceInProgress, &id), cx);
            self.answer_sync(&id, crate::reply::Synced::failed(ErrorCode::RebalanceInProgress), cx);
        }
    }

    /// The group's first record was refused: the group never was.
    pub fn not_created(&mut self, error: ErrorCode, cx: &mut Cx<'_>) {
        for id in self.member_ids() {
            if let Some(waiting) = self.members.get_mut(&id).and_then(|member| member.awaiting_join.take()) {
                cx.reply(waiting, Response::Join(Joined::failed(error, "")));
            }
        }
        self.cancel_timers(cx);
    }

    /// Cancels every deadline of a group that is about to be forgotten.
    pub fn cancel_timers(&self, cx: &mut Cx<'_>) {
        cx.timers.cancel(&self.join_key());
        cx.timers.cancel(&self.sync_key());
        for id in self.members.keys().chain(&self.pending_join) {
            cx.timers.cancel(&self.session_key(id));
        }
    }
}
