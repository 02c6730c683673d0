//! Delegation tokens: CreateDelegationToken (38), RenewDelegationToken (39), ExpireDelegationToken (40),
//! DescribeDelegationToken (41). There are none here, as in an Apache Kafka without `delegation.token.secret.key`, and
//! they are refused with the same words.

use kafka_codec::ErrorCode;
use kafka_codec::messages::*;

use crate::config::SecurityProtocol;
use crate::context::{ANONYMOUS, Context};

/// The one type of principals.
const USER_TYPE: &str = "User";
/// First version whose answer names who asked beside whose token it is.
const REQUESTER_FROM: i16 = 3;

/// Why a client gets no tokens. Kafka first looks at whether the client has shown well enough who it is.
fn refusal(ctx: &Context) -> ErrorCode {
    let listener = ctx.node.config.listeners.get(ctx.connection.listener.index);
    let is_known = match listener.map(|listener| listener.protocol) {
        Some(SecurityProtocol::Ssl) => *ctx.principal != *ANONYMOUS,
        Some(SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl) => true,
        Some(SecurityProtocol::Plaintext) | None => false,
    };
    if is_known {
        ErrorCode::DelegationTokenAuthDisabled
    } else {
        ErrorCode::DelegationTokenRequestNotAllowed
    }
}

pub(crate) async fn create(
    ctx: Context,
    request: CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let refused = refusal(&ctx);
    let (kind, name) = ctx.principal.split_once(':').unwrap_or((USER_TYPE, &ctx.principal));
    let (kind, name) = (kind.to_owned(), name.to_owned());
    let of_other = request.owner_principal_name.filter(|owner| !owner.is_empty());
    let (owner_kind, owner) = match of_other {
        Some(owner) => (request.owner_principal_type.unwrap_or_default(), owner),
        None => (kind.clone(), name.clone()),
    };
    let is_user =
        |renewer: &create_delegation_token_request::CreatableRenewers| renewer.principal_type == USER_TYPE;
    let error = if refused == ErrorCode::DelegationTokenAuthDisabled && !request.renewers.iter().all(is_user)
    {
        ErrorCode::InvalidPrincipalType
    } else {
        refused
    };
    // (Older versions do not tell owner and requester apart.)
    let tells_requester = ctx.version >= REQUESTER_FROM;
    CreateDelegationTokenResponse {
        error_code: error.code(),
        principal_type: owner_kind,
        principal_name: owner,
        token_requester_principal_type: if tells_requester { kind } else { String::new() },
        token_requester_principal_name: if tells_requester { name } else { String::new() },
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..CreateDelegationTokenResponse::default()
    }
}

pub(crate) async fn renew(ctx: Context, _: RenewDelegationTokenRequest) -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse {
        error_code: refusal(&ctx).code(),
        expiry_timestamp_ms: -1,
        ..RenewDelegationTokenResponse::default()
    }
}

pub(crate) async fn expire(ctx: Context, _: ExpireDelegationTokenRequest) -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse {
        error_code: refusal(&ctx).code(),
        expiry_timestamp_ms: -1,
        ..ExpireDelegationTokenResponse::default()
    }
}

pub(crate) async fn describe(
    ctx: Context,
    _: DescribeDelegationTokenRequest,
) -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse {
        error_code: refusal(&ctx).code(),
        ..DescribeDelegationTokenResponse::default()
    }
}
