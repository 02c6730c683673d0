//! LeaveGroup.

use kafka_codec::ErrorCode;

use super::{ClassicGroup, ClassicState};
use crate::reply::Left;
use crate::request::LeaveGroup;
use crate::shard::Cx;

impl ClassicGroup {
    pub fn leave(&mut self, leave: LeaveGroup, cx: &mut Cx<'_>) -> Left {
        let mut members = Vec::with_capacity(leave.members.len());
        let mut any_left = false;
        for (id, instance) in leave.members {
            let error = self.leave_one(&id, instance.as_deref(), cx).err().unwrap_or(ErrorCode::None);
            any_left |= error == ErrorCode::None;
            members.push((id, instance, error));
        }
        if any_left {
            match self.state {
                ClassicState::Stable | ClassicState::CompletingRebalance => {
                    self.rebalance_or_complete_join(cx)
                }
                ClassicState::PreparingRebalance => self.complete_join_if_all_joined(cx),
                ClassicState::Empty | ClassicState::Dead => {}
            }
        }
        Left { error: ErrorCode::None, members }
    }

    fn leave_one(&mut self, id: &str, instance: Option<&str>, cx: &mut Cx<'_>) -> Result<(), ErrorCode> {
        if id.is_empty() {
            // An administrator removes a static member by its name.
            let owner = instance.and_then(|instance| self.static_members.get(instance)).cloned();
            self.drop_member(&owner.ok_or(ErrorCode::UnknownMemberId)?, cx);
            return Ok(());
        }
        if self.pending_join.contains(id) {
            self.remove(id, cx);
            return Ok(());
        }
        self.validate_member(id, instance)?;
        self.drop_member(id, cx);
        Ok(())
    }
}
