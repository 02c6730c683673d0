//! JoinGroup (11), versions 0–9. Waits until the join phase of the rebalance is over.

use coordinator::{ErrorCode, JoinGroup, Request, Response};
use kafka_codec::messages::join_group_response::JoinGroupResponseMember;
use kafka_codec::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::context::Context;
use crate::node::random_uuid;

pub(crate) async fn handle(ctx: Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let version = ctx.version;
    let group = request.group_id.clone();
    let join = JoinGroup {
        group: request.group_id,
        member: request.member_id,
        instance: request.group_instance_id,
        session_timeout_ms: request.session_timeout_ms,
        // Version 0 knows one timeout only.
        rebalance_timeout_ms: if version == 0 {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        },
        protocol_type: request.protocol_type,
        protocols: request.protocols.into_iter().map(|protocol| (protocol.name, protocol.metadata)).collect(),
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: ctx.client_host(),
        require_known_member: version >= 4,
        supports_skip_assignment: version >= 9,
        fresh_id: hyphenated(random_uuid().0),
    };
    let Some(Response::Join(joined)) = ctx.node.groups.ask(&group, Request::Join(join)).await else {
        return JoinGroupResponse {
            error_code: ErrorCode::CoordinatorNotAvailable.code(),
            protocol_name: Some(String::new()),
            ..JoinGroupResponse::default()
        };
    };
    JoinGroupResponse {
        error_code: joined.error.code(),
        generation_id: joined.generation,
        protocol_type: joined.protocol_type,
        // Nullable since version 7.
        protocol_name: joined.protocol_name.or_else(|| (version < 7).then(String::new)),
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member,
        members: joined
            .members
            .into_iter()
            .map(|member| JoinGroupResponseMember {
                member_id: member.member,
                group_instance_id: member.instance,
                metadata: member.metadata,
                ..JoinGroupResponseMember::default()
            })
            .collect(),
        ..JoinGroupResponse::default()
    }
}

/// The usual way to write a UUID, which Kafka uses in member ids.
fn hyphenated(id: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in id.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn member_ids_end_in_a_uuid() {
        let id = super::hyphenated(*b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef");
        assert_eq!(id, "01234567-89ab-cdef-0123-456789abcdef");
    }
}
