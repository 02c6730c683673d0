//! AUTH: a client proves that it knows a password without sending it, at CONNECT and again later.

use std::sync::Arc;

use mqtt_codec::{Auth, AuthProperties, Connect, Packet, ReasonCode};

use super::connect::Refused;
use crate::auth::scram::{Exchange, METHOD, Proven};
use crate::net::{Close, Connection, Listener, ReadStep};

/// An exchange begun by the client of an open connection.
#[derive(Debug)]
pub(crate) struct Reauthentication {
    method: String,
    exchange: Option<Exchange>,
}

impl Reauthentication {
    /// With the method that CONNECT gave.
    pub(crate) fn new(method: String) -> Self {
        Self { method, exchange: None }
    }
}

fn auth(reason: ReasonCode, data: String) -> Packet {
    Packet::Auth(Auth {
        reason,
        properties: AuthProperties {
            authentication_method: Some(METHOD.to_owned()),
            authentication_data: Some(data.into()),
            ..AuthProperties::default()
        },
    })
}

fn begin(listener: &Listener, data: &[u8]) -> Result<(Exchange, String), ReasonCode> {
    let security = listener.security.load();
    let Some(authenticator) = &security.authenticator else {
        return Err(ReasonCode::BadAuthenticationMethod);
    };
    Exchange::begin(data, |user| authenticator.scram_secret(user)).ok_or(ReasonCode::NotAuthorized)
}

/// Goes through the exchange that a CONNECT began. `Err(None)`: the client went away.
pub(crate) async fn prove(
    step: &mut ReadStep<'_>,
    listener: &Arc<Listener>,
    connect: &Connect,
    method: &str,
) -> Result<Proven, Option<Refused>> {
    let refused = |reason, why| Some(Refused::new(reason, why));
    if method != METHOD {
        return Err(refused(ReasonCode::BadAuthenticationMethod, "the authentication method is not known"));
    }
    let data = connect.properties.authentication_data.as_deref().unwrap_or_default();
    let (exchange, first) = begin(listener, data).map_err(|reason| refused(reason, "SCRAM cannot begin"))?;
    match step.ask(&auth(ReasonCode::ContinueAuthentication, first)).await {
        Some(Packet::Auth(a)) if a.reason == ReasonCode::ContinueAuthentication => {
            if a.properties.authentication_method.as_deref() != Some(METHOD) {
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
        if a.properties.authentication_method.as_deref() != Some(&*again.method) {
            return Err(Close::protocol("AUTH with another method than CONNECT"));
        }
        let data = a.properties.authentication_data.clone().unwrap_or_default();
        match (a.reason, again.exchange.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                let (exchange, first) = begin(&self.listener, &data).map_err(refused)?;
                again.exchange = Some(exchange);
                self.send(&auth(ReasonCode::ContinueAuthentication, first));
                Ok(())
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let proven = exchange.finish(&data).ok_or_else(|| refused(ReasonCode::NotAuthorized))?;
                // What the session may do depends on the name; another one has to connect.
                if self.rights.login().user_name.as_deref() != Some(&*proven.user) {
                    return Err(refused(ReasonCode::NotAuthorized));
                }
                self.send(&auth(ReasonCode::Success, proven.server_final));
                Ok(())
            }
            _ => Err(Close::protocol("AUTH out of turn")),
        }
    }
}
