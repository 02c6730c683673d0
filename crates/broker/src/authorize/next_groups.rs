//! Heartbeats of the groups whose assignments the broker makes (KIP-848, KIP-932, KIP-1071).

use kafka_codec::ErrorCode;
use kafka_codec::acl::AclOperation::{Create, Describe, Read};
use kafka_codec::messages::*;

use super::{Access, unless, whole, words};

fn heartbeat(access: &Access, group: &str, topics: Option<&Vec<String>>) -> Option<ErrorCode> {
    if !access.group(Read, group) {
        return Some(ErrorCode::GroupAuthorizationFailed);
    }
    let may_know = topics.into_iter().flatten().all(|topic| access.topic(Describe, topic));
    unless(may_know, ErrorCode::TopicAuthorizationFailed)
}

whole!(
    ConsumerGroupHeartbeatRequest,
    |asked, access| heartbeat(access, &asked.group_id, asked.subscribed_topic_names.as_ref()),
    |code| ConsumerGroupHeartbeatResponse {
        error_code: code.code(),
        error_message: words(code),
        ..ConsumerGroupHeartbeatResponse::default()
    }
);
whole!(
    ShareGroupHeartbeatRequest,
    |asked, access| heartbeat(access, &asked.group_id, asked.subscribed_topic_names.as_ref()),
    |code| ShareGroupHeartbeatResponse {
        error_code: code.code(),
        error_message: words(code),
        ..ShareGroupHeartbeatResponse::default()
    }
);
whole!(
    StreamsGroupHeartbeatRequest,
    |asked, access| {
        let mut refusal = heartbeat(access, &asked.group_id, None);
        for part in asked.topology.iter().flat_map(|topology| &topology.subtopologies) {
            let internal = part.repartition_source_topics.iter().chain(&part.state_changelog_topics);
            let granted = part.source_topics.iter().all(|topic| access.topic(Describe, topic))
                && internal.clone().all(|topic| access.topic(Describe, &topic.name))
                && (access.cluster_quietly(Create)
                    || internal.clone().all(|topic| access.topic(Create, &topic.name)));
            refusal = refusal.or(unless(granted, ErrorCode::TopicAuthorizationFailed));
        }
        refusal
    },
    |code| StreamsGroupHeartbeatResponse {
        error_code: code.code(),
        error_message: words(code),
        ..StreamsGroupHeartbeatResponse::default()
    }
);
