//! SyncGroup and Heartbeat: the leader's assignment reaches every member.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_codec::ErrorCode;

use super::{ClassicGroup, ClassicState};
use crate::output::RequestId;
use crate::records::group_record;
use crate::reply::{Response, Synced};
use crate::request::{Heartbeat, SyncGroup};
use crate::shard::{Cx, Effect};

impl ClassicGroup {
    pub fn sync(&mut self, request: RequestId, sync: SyncGroup, cx: &mut Cx<'_>) {
        if let Err(error) = self.validate_sync(&sync) {
            return cx.reply(request, Response::Sync(Synced::failed(error)));
        }
        match self.state {
            ClassicState::CompletingRebalance => self.await_assignment(request, sync, cx),
            ClassicState::Stable => {
                self.synced(&sync.member, cx);
                let assignment = self.members.get(&sync.member).map(|member| member.assignment.clone());
                let answer = self.assigned(assignment.unwrap_or_default());
                cx.reply(request, Response::Sync(answer));
            }
            ClassicState::PreparingRebalance => {
                cx.reply(request, Response::Sync(Synced::failed(ErrorCode::RebalanceInProgress)));
            }
            ClassicState::Empty | ClassicState::Dead => {
                cx.reply(request, Response::Sync(Synced::failed(ErrorCode::UnknownMemberId)));
            }
        }
    }

    fn validate_sync(&self, sync: &SyncGroup) -> Result<(), ErrorCode> {
        self.validate_member(&sync.member, sync.instance.as_deref())?;
        if sync.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, ours: &Option<String>| matches!((asked, ours), (Some(asked), Some(ours)) if asked != ours);
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn await_assignment(&mut self, request: RequestId, sync: SyncGroup, cx: &mut Cx<'_>) {
        let older =
            self.members.get_mut(&sync.member).and_then(|member| member.awaiting_sync.replace(request));
        if let Some(older) = older {
            cx.reply(older, Response::Sync(Synced::failed(ErrorCode::RebalanceInProgress)));
        }
        self.synced(&sync.member, cx);
        if !self.is_leader(&sync.member) || self.is_assigning {
            return;
        }
        self.is_assigning = true;
        let mut assignments: BTreeMap<String, Bytes> = sync.assignments.into_iter().collect();
        assignments.retain(|member, _| self.members.contains_key(member));
        let record = group_record(self, Some(&assignments));
        let (group, generation) = (self.id.clone(), self.generation);
        cx.record(record, Effect::Assigned { group, generation, assignments });
    }

    /// `member` has asked for its assignment: it will not be dropped for silence.
    fn synced(&mut self, member: &str, cx: &mut Cx<'_>) {
        self.pending_sync.remove(member);
        if self.pending_sync.is_empty() {
            cx.timers.cancel(&self.sync_key());
        }
    }

    /// The assignment of this generation is stored: hand it out. Members that the leader left out get none.
    pub fn assign(&mut self, mut assignments: BTreeMap<String, Bytes>, cx: &mut Cx<'_>) {
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        for id in self.member_ids() {
            let assignment = self.members.get(&id).map(|member| member.assignment.clone());
            let answer = self.assigned(assignment.unwrap_or_default());
            if self.answer_sync(&id, answer, cx) {
                // A session deadline that passed while the member waited had no effect: start it anew.
                self.touch(&id, cx);
            }
        }
        self.transition(ClassicState::Stable, cx.now.wall_ms);
    }

    /// There will be no assignment for this generation: everybody who waits gets `error`.
    pub fn fail_assignment(&mut self, error: ErrorCode, cx: &mut Cx<'_>) {
        for id in self.member_ids() {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = Bytes::new();
            }
            if self.answer_sync(&id, Synced::failed(error), cx) {
                self.touch(&id, cx);
            }
        }
    }

    fn assigned(&self, assignment: Bytes) -> Synced {
        Synced {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }

    /// The sync deadline passed: members that joined but never asked for their assignment are dropped.
    pub fn sync_deadline(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable)
            || self.pending_sync.is_empty()
        {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.drop_member(&id, cx);
        }
        self.prepare_rebalance(cx);
    }

    pub fn heartbeat(&mut self, beat: &Heartbeat, cx: &mut Cx<'_>) -> ErrorCode {
        if let Err(error) = self.validate_member(&beat.member, beat.instance.as_deref()) {
            return error;
        }
        if beat.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            ClassicState::Empty | ClassicState::Dead => ErrorCode::UnknownMemberId,
            ClassicState::PreparingRebalance => {
                self.touch(&beat.member, cx);
                ErrorCode::RebalanceInProgress
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.touch(&beat.member, cx);
                ErrorCode::None
            }
        }
    }
}
