//! AUTH: a client proves that it knows a password without sending it, at CONNECT and again later.

use std::sync::Arc;

use mqtt_codec::{Auth, AuthProperties, Connect, Packet, ReasonCode};

use super::connect::Refused;
use crate::auth::scram::{Exchange, Proven};
use crate::auth::{ScramMechanism, scram_secret};
use crate::net::{Close, Connection, Listener, ReadStep};

/// An exchange begun by the client of an open connection.
#[derive(Debug)]
pub(crate) struct Reauthentication {
    mechanism: ScramMechanism,
    exchange: Option<Exchange>,
}

impl Reauthentication {
    /// With the method that CONNECT gave.
    pub(crate) fn new(mechanism: ScramMechanism) -> Self {
        Self { mechanism, exchange: None }
    }
}

fn auth(mechanism: ScramMechanism, reason: ReasonCode, data: String) -> Packet {
    Packet::Auth(Auth {
        reason,
        properties: AuthProperties {
            authentication_method: Some(mechanism.name().to_owned()),
            authentication_data: Some(data.into()),
            ..AuthProperties::default()
        },
    })
}

fn begin(
    listener: &Listener,
    mechanism: ScramMechanism,
    data: &[u8],
) -> Result<(Exchange, String), ReasonCode> {
    let security = listener.security.load();
    if security.authenticator.is_none() && listener.access.is_none() {
        return Err(ReasonCode::BadAuthenticationMethod);
    }
    let secret_of = |user: &str| scram_secret(&security, listener.access.as_deref(), user, mechanism);
    Exchange::begin(mechanism, data, secret_of).ok_or(ReasonCode::NotAuthorized)
}

/// Goes through the exchange that a CONNECT began. `Err(None)`: the client went away.
pub(crate) async fn prove(
    step: &mut ReadStep<'_>,
    listener: &Arc<Listener>,
    connect: &Connect,
    method: &str,
) -> Result<Proven, Option<Refused>> {
    let refused = |reason, why| Some(Refused::new(reason, why));
    let Some(mechanism) = ScramMechanism::from_name(method) else {
        return Err(refused(ReasonCode::BadAuthenticationMethod, "the authentication method is not known"));
    };
    let data = connect.properties.authentication_data.as_deref().unwrap_or_default();
    let (exchange, first) =
        begin(listener, mechanism, data).map_err(|reason| refused(reason, "SCRAM cannot begin"))?;
    match step.ask(&auth(mechanism, ReasonCode::ContinueAuthentication, first)).await {
        Some(Packet::Auth(a)) if a.reason == ReasonCode::ContinueAuthentication => {
            if a.properties.authentication_method.as_deref() != Some(method) {
                return Err(refused(ReasonCode::ProtocolError, "AUTH with another method"));
            }
            let data = a.properties.authentication_data.unwrap_or_default();
            exchange.finish(&data).ok_or_else(|| refused(ReasonCode::NotAuthorized, "SCRAM proof is wrong"))
        }
        Some(Packet::Disconnect(_)) | None => Err(None),
        Some(_) => Err(refused(ReasonCode::ProtocolError, "something else than AUTH before CONNACK")),
    }
}

impl Connection {
    pub(super) fn handle_auth(&mut self, a: &Auth) -> Result<(), Close> {
        let refused = |reason: ReasonCode| Close::error(reason, "authentication failed");
        let Some(again) = &mut self.reauthentication else {
            return Err(Close::protocol("AUTH without an authentication method"));
        };
        if a.properties.authentication_method.as_deref() != Some(again.mechanism.name()) {
            return Err(Close::protocol("AUTH with another method than CONNECT"));
        }
        let data = a.properties.authentication_data.clone().unwrap_or_default();
        let mechanism = again.mechanism;
        match (a.reason, again.exchange.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                let (exchange, first) = begin(&self.listener, mechanism, &data).map_err(refused)?;
                again.exchange = Some(exchange);
                self.send(&auth(mechanism, ReasonCode::ContinueAuthentication, first));
                Ok(())
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let proven = exchange.finish(&data).ok_or_else(|| refused(ReasonCode::NotAuthorized))?;
                // What the session may do depends on the name; another one has to connect.
                if self.rights.login().user_name.as_deref() != Some(&*proven.user) {
                    return Err(refused(ReasonCode::NotAuthorized));
                }
                self.send(&auth(mechanism, ReasonCode::Success, proven.server_final));
                Ok(())
            }
            _ => Err(Close::protocol("AUTH out of turn")),
        }
    }
}
