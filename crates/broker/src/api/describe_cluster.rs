//! DescribeCluster (60): cluster id, controller, brokers. Memory: one small answer.

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_codec::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::authorized_cluster_operations;
use crate::context::Context;

/// Endpoint types of the request: brokers, controllers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(ctx: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let node = &ctx.node;
    let refuse = |error: ErrorCode, message: &str| DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(message.into()),
        endpoint_type: request.endpoint_type,
        ..DescribeClusterResponse::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message = "The given endpoint type is for controllers, and this is a broker's listener.";
            return refuse(ErrorCode::MismatchedEndpointType, message);
        }
        _ => return refuse(ErrorCode::UnsupportedEndpointType, "Unknown endpoint type."),
    }
    let endpoint = node.endpoint_for(&ctx);
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: node.cluster_id.clone(),
        controller_id: node.id,
        brokers: vec![DescribeClusterBroker {
            broker_id: node.id,
            host: endpoint.host,
            port: i32::from(endpoint.port),
            rack: node.state().properties.text("broker.rack"),
            ..DescribeClusterBroker::default()
        }],
        cluster_authorized_operations: authorized_cluster_operations(
            request.include_cluster_authorized_operations,
        ),
        ..DescribeClusterResponse::default()
    }
}
