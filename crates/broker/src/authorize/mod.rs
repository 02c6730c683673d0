//! Who may do what: each API's check, in front of its handler.
//!
//! A handler knows nothing of this. [`crate::dispatch::Call`] only takes requests that are [`Guarded`]: what the
//! client may not ask is taken out before the handler sees the request, and told in the answer afterwards. So an API
//! without a decision about its check does not compile. Produce and Fetch, whose requests are borrowed, ask
//! [`Access`] themselves.

mod cluster;
mod configs;
mod groups;
mod next_groups;
mod offsets;
mod share_groups;
mod topics;
mod transactions;

use std::ops::ControlFlow;
use std::sync::Arc;

use kafka_codec::acl::{AclOperation, CLUSTER_NAME, ResourceType};
use kafka_codec::{ErrorCode, Request, Uuid};
use meta::acl::Resource;

use crate::context::Context;
use crate::metadata::State;
use crate::node::Node;

/// A request whose check is known.
pub(crate) trait Guarded: Request {
    /// What was taken out of the request and has to be told in the answer.
    type Withheld: Send + 'static;

    /// Takes out of the request what the client may not ask; breaks off with an answer when nothing is left to ask.
    /// Not called without an authorizer.
    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld>;

    /// Tells in the answer what was taken out, and takes out of the answer what the client may not know.
    fn complete(response: &mut Self::Response, withheld: Self::Withheld, access: &Access);

    /// First version in which what a quota of mutations forbids is refused; older ones only wait.
    const STRICT_FROM: Option<i16> = None;

    /// Takes what is to be made or removed from the client's quota, by partitions; what it refuses is taken out.
    fn meter(&mut self, _: &State, _: &mut dyn FnMut(f64) -> bool) -> Vec<Metered> {
        Vec::new()
    }

    /// Tells in the answer what the quota refused.
    fn tell_metered(_: &mut Self::Response, _: Vec<Metered>) {}

    /// Tells the client for how long its connection is not read (KIP-219).
    fn throttle(response: &mut Self::Response, ms: i32);
}

/// A topic that a quota refused, by name or id.
pub(crate) type Metered = (Option<String>, Uuid);

/// What one client may do now.
pub(crate) struct Access {
    node: Arc<Node>,
    /// The cluster state that decides.
    pub(crate) state: Arc<State>,
    principal: Arc<str>,
    host: String,
    /// Version of the request.
    pub(crate) version: i16,
}

impl Access {
    /// What the client of a request may do.
    pub(crate) fn of(ctx: &Context) -> Self {
        Self {
            node: Arc::clone(&ctx.node),
            state: ctx.node.state(),
            principal: Arc::clone(&ctx.principal),
            host: ctx.connection.peer.ip().to_canonical().to_string(),
            version: ctx.version,
        }
    }

    /// Whether the client may, without a word in the log.
    fn is_allowed(&self, operation: AclOperation, kind: ResourceType, name: &str) -> bool {
        let resource = Resource { kind, name };
        self.node.authorizer.allows(&self.state.image.acls, &self.principal, &self.host, operation, resource)
    }

    fn may(&self, operation: AclOperation, kind: ResourceType, name: &str) -> bool {
        let allowed = self.is_allowed(operation, kind, name);
        if !allowed {
            tracing::info!(
                principal = %self.principal, host = self.host, %operation, resource = %kind, name, "denied"
            );
        }
        allowed
    }

    /// Whether the client may do something with a topic.
    pub(crate) fn topic(&self, operation: AclOperation, name: &str) -> bool {
        self.may(operation, ResourceType::Topic, name)
    }

    /// Whether the client may do something with a group.
    pub(crate) fn group(&self, operation: AclOperation, name: &str) -> bool {
        self.may(operation, ResourceType::Group, name)
    }

    /// Whether the client may do something with a transactional id.
    pub(crate) fn transactional_id(&self, operation: AclOperation, name: &str) -> bool {
        self.may(operation, ResourceType::TransactionalId, name)
    }

    /// Whether the client may do something with the cluster.
    pub(crate) fn cluster(&self, operation: AclOperation) -> bool {
        self.may(operation, ResourceType::Cluster, CLUSTER_NAME)
    }

    /// As [`Access::cluster`], where a refusal leads to a narrower question and is no event.
    pub(crate) fn cluster_quietly(&self, operation: AclOperation) -> bool {
        self.is_allowed(operation, ResourceType::Cluster, CLUSTER_NAME)
    }

    /// As [`Access::topic`], for lists out of which refused topics are left.
    pub(crate) fn topic_quietly(&self, operation: AclOperation, name: &str) -> bool {
        self.is_allowed(operation, ResourceType::Topic, name)
    }

    /// As [`Access::group`], for lists out of which refused groups are left.
    pub(crate) fn group_quietly(&self, operation: AclOperation, name: &str) -> bool {
        self.is_allowed(operation, ResourceType::Group, name)
    }

    /// As [`Access::transactional_id`], for lists out of which refused ones are left.
    pub(crate) fn transactional_id_quietly(&self, operation: AclOperation, name: &str) -> bool {
        self.is_allowed(operation, ResourceType::TransactionalId, name)
    }

    /// Whether the client may write to at least one topic.
    pub(crate) fn any_topic(&self, operation: AclOperation) -> bool {
        let acls = &self.state.image.acls;
        self.node.authorizer.allows_any(acls, &self.principal, &self.host, operation, ResourceType::Topic)
    }

    /// The name of the topic with an id.
    pub(crate) fn topic_name(&self, id: Uuid) -> Option<Arc<str>> {
        self.state.image.topic_by_id(id).map(|topic| Arc::clone(&topic.name))
    }

    /// Whether the client may do something with the topic of an id; one that nobody has may be asked for.
    pub(crate) fn topic_by_id(&self, operation: AclOperation, id: Uuid) -> bool {
        self.topic_name(id).is_none_or(|name| self.topic(operation, &name))
    }

    /// What the client may do with a resource, as bits.
    fn operations(&self, kind: ResourceType, name: &str) -> i32 {
        let supported: &[AclOperation] = match kind {
            ResourceType::Topic => &TOPIC_OPERATIONS,
            ResourceType::Group => &GROUP_OPERATIONS,
            _ => &CLUSTER_OPERATIONS,
        };
        supported
            .iter()
            .filter(|operation| self.is_allowed(**operation, kind, name))
            .fold(0, |bits, operation| bits | 1 << operation.code())
    }

    /// What the client may do with a topic.
    pub(crate) fn topic_operations(&self, name: &str) -> i32 {
        self.operations(ResourceType::Topic, name)
    }

    /// What the client may do with a group.
    pub(crate) fn group_operations(&self, name: &str) -> i32 {
        self.operations(ResourceType::Group, name)
    }

    /// What the client may do with the cluster; nothing when it may not know of it.
    pub(crate) fn cluster_operations(&self) -> i32 {
        if self.cluster_quietly(AclOperation::Describe) {
            self.operations(ResourceType::Cluster, CLUSTER_NAME)
        } else {
            0
        }
    }
}

const TOPIC_OPERATIONS: [AclOperation; 8] = [
    AclOperation::Read,
    AclOperation::Write,
    AclOperation::Create,
    AclOperation::Delete,
    AclOperation::Alter,
    AclOperation::Describe,
    AclOperation::DescribeConfigs,
    AclOperation::AlterConfigs,
];
const GROUP_OPERATIONS: [AclOperation; 5] = [
    AclOperation::Read,
    AclOperation::Delete,
    AclOperation::Describe,
    AclOperation::DescribeConfigs,
    AclOperation::AlterConfigs,
];
const CLUSTER_OPERATIONS: [AclOperation; 7] = [
    AclOperation::Create,
    AclOperation::ClusterAction,
    AclOperation::DescribeConfigs,
    AclOperation::AlterConfigs,
    AclOperation::IdempotentWrite,
    AclOperation::Alter,
    AclOperation::Describe,
];

/// Bits of operations that nobody asked for.
const NOT_ASKED: i32 = i32::MIN;

/// The code and its words.
fn words(code: ErrorCode) -> Option<String> {
    Some(code.message().to_owned())
}

/// Removes from `list` what `keep` refuses, and answers it.
fn take_out<T>(list: &mut Vec<T>, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
    let (kept, removed) = std::mem::take(list).into_iter().partition(|item| keep(item));
    *list = kept;
    removed
}

/// A request that is granted or refused as a whole: the code when it is refused, and the answer with that code.
macro_rules! whole {
    ($request:ident, |$asked:ident, $access:ident| $refusal:expr, |$code:ident| $answer:expr) => {
        impl $crate::authorize::Guarded for kafka_codec::messages::$request {
            type Withheld = ();

            fn check(
                &mut self,
                $access: &$crate::authorize::Access,
            ) -> std::ops::ControlFlow<Self::Response, ()> {
                let $asked = &*self;
                let refusal: Option<kafka_codec::ErrorCode> = $refusal;
                match refusal {
                    None => std::ops::ControlFlow::Continue(()),
                    Some($code) => std::ops::ControlFlow::Break($answer),
                }
            }

            fn complete(_: &mut Self::Response, (): (), _: &$crate::authorize::Access) {}

            $crate::authorize::throttle_time!(Self::Response);
        }
    };
}

/// A request that everybody may send, and whose answer hides nothing.
macro_rules! open {
    ($request:ident, $throttle:ident) => {
        impl $crate::authorize::Guarded for kafka_codec::messages::$request {
            type Withheld = ();

            fn check(&mut self, _: &$crate::authorize::Access) -> std::ops::ControlFlow<Self::Response, ()> {
                std::ops::ControlFlow::Continue(())
            }

            fn complete(_: &mut Self::Response, (): (), _: &$crate::authorize::Access) {}

            $crate::authorize::$throttle!(Self::Response);
        }
    };
}

/// Puts the throttle time where every answer that can tell it has it.
macro_rules! throttle_time {
    ($response:ty) => {
        fn throttle(response: &mut $response, ms: i32) {
            response.throttle_time_ms = ms;
        }
    };
}

/// An answer that cannot tell a throttle time.
macro_rules! no_throttle_time {
    ($response:ty) => {
        fn throttle(_: &mut $response, _: i32) {}
    };
}

/// `None` when granted, else the code.
fn unless(granted: bool, code: ErrorCode) -> Option<ErrorCode> {
    (!granted).then_some(code)
}

use {no_throttle_time, open, throttle_time, whole};
