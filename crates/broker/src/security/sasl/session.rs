//! One connection's way from a stranger to a principal, and again when its time is over (KIP-368).

use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::ErrorCode;
use kafka_codec::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::{Exchange, Mechanism, SaslConfig, Step};
use crate::metadata::State;

/// A connection's SASL state.
#[derive(Debug)]
pub(crate) struct SaslSession {
    config: Arc<SaslConfig>,
    exchange: Option<(Mechanism, Exchange)>,
    /// The client speaks version 0 of SaslHandshake: what follows are bare tokens.
    bare_tokens: bool,
    authenticated: Option<Authenticated>,
}

#[derive(Debug)]
struct Authenticated {
    principal: Arc<str>,
    mechanism: Mechanism,
    /// When the client must have proven itself again.
    expires_ms: Option<i64>,
}

/// What to send, and what becomes of the connection.
#[derive(Debug)]
pub(crate) enum Turn<R> {
    /// Send it.
    Answer(R),
    /// Send it and close, after this delay.
    Last(R, std::time::Duration, String),
}

impl SaslSession {
    pub(crate) fn new(config: Arc<SaslConfig>) -> Self {
        Self { config, exchange: None, bare_tokens: false, authenticated: None }
    }

    /// Who the client is, once it is known.
    pub(crate) fn principal(&self) -> Option<&Arc<str>> {
        self.authenticated.as_ref().map(|known| &known.principal)
    }

    /// Whether the client should have proven itself again by now.
    pub(crate) fn is_over(&self, now_ms: i64) -> bool {
        self.authenticated.as_ref().and_then(|known| known.expires_ms).is_some_and(|end| now_ms >= end)
    }

    /// Whether the next frame is a bare token.
    pub(crate) fn takes_bare_token(&self) -> bool {
        self.bare_tokens && self.exchange.is_some()
    }

    /// The client chooses a mechanism.
    pub(crate) fn handshake(
        &mut self,
        version: i16,
        request: &SaslHandshakeRequest,
    ) -> Turn<SaslHandshakeResponse> {
        let delay = self.config.failure_delay;
        let mechanisms: Vec<String> = self.config.mechanisms.iter().map(|m| m.name().to_owned()).collect();
        let refuse = |code: ErrorCode, why: String| {
            let response = SaslHandshakeResponse { error_code: code.code(), mechanisms: mechanisms.clone() };
            Turn::Last(response, delay, why)
        };
        let chosen = Mechanism::from_name(&request.mechanism).filter(|m| self.config.mechanisms.contains(m));
        let Some(mechanism) = chosen else {
            let why = format!("SASL mechanism {:?} is not enabled", request.mechanism);
            return refuse(ErrorCode::UnsupportedSaslMechanism, why);
        };
        if self.exchange.is_some() {
            return refuse(ErrorCode::IllegalSaslState, "SaslHandshake in the middle of an exchange".into());
        }
        if self.authenticated.as_ref().is_some_and(|known| known.mechanism != mechanism) {
            let why = "another SASL mechanism for re-authentication".to_owned();
            return refuse(ErrorCode::IllegalSaslState, why);
        }
        self.bare_tokens = version == 0;
        self.exchange = Some((mechanism, Exchange::new(mechanism)));
        Turn::Answer(SaslHandshakeResponse { error_code: 0, mechanisms })
    }

    /// The client's next message of an exchange.
    pub(crate) fn authenticate(
        &mut self,
        state: &State,
        request: &SaslAuthenticateRequest,
        now_ms: i64,
    ) -> Turn<SaslAuthenticateResponse> {
        let delay = self.config.failure_delay;
        let refuse = |code: ErrorCode, message: String| {
            let response = SaslAuthenticateResponse {
                error_code: code.code(),
                error_message: Some(message.clone()),
                ..SaslAuthenticateResponse::default()
            };
            Turn::Last(response, delay, message)
        };
        if self.exchange.is_none() {
            let message = "SaslAuthenticate request received without a SaslHandshake before it";
            return refuse(ErrorCode::IllegalSaslState, message.into());
        }
        match self.step(state, &request.auth_bytes, now_ms) {
            Ok((auth_bytes, session_lifetime_ms)) => Turn::Answer(SaslAuthenticateResponse {
                auth_bytes,
                session_lifetime_ms,
                ..SaslAuthenticateResponse::default()
            }),
            Err(message) => refuse(ErrorCode::SaslAuthenticationFailed, message),
        }
    }

    /// A bare token of an old client.
    pub(crate) fn bare_token(&mut self, state: &State, token: &[u8], now_ms: i64) -> Result<Bytes, String> {
        self.step(state, token, now_ms).map(|(answer, _)| answer)
    }

    /// Answers the server's message and how long the session lives from here (0 = for ever, or not there yet).
    fn step(&mut self, state: &State, message: &[u8], now_ms: i64) -> Result<(Bytes, i64), String> {
        let Some((mechanism, exchange)) = &mut self.exchange else { return Err("no exchange".into()) };
        let mechanism = *mechanism;
        match exchange.step(&self.config, state, message, now_ms) {
            Step::Continue(answer) => Ok((answer, 0)),
            Step::Failed(why) => {
                self.exchange = None;
                Err(why)
            }
            Step::Done { answer, user, expires_ms } => {
                self.exchange = None;
                let principal: Arc<str> = Arc::from(format!("User:{user}"));
                if let Some(known) = &self.authenticated
                    && known.principal != principal
                {
                    return Err(format!(
                        "Cannot change principals during re-authentication from {} to {principal}",
                        known.principal
                    ));
                }
                let most = self.max_reauth_ms(mechanism);
                let lifetime = match expires_ms.map(|end| end.saturating_sub(now_ms).max(1)) {
                    Some(token) if most > 0 => Some(token.min(most)),
                    // Without the setting a connection outlives its token, as in Kafka.
                    _ if most > 0 => Some(most),
                    _ => None,
                };
                self.authenticated = Some(Authenticated {
                    principal,
                    mechanism,
                    expires_ms: lifetime.map(|lifetime| now_ms.saturating_add(lifetime)),
                });
                Ok((answer, lifetime.unwrap_or(0)))
            }
        }
    }

    fn max_reauth_ms(&self, mechanism: Mechanism) -> i64 {
        let position = self.config.mechanisms.iter().position(|known| *known == mechanism);
        position.and_then(|at| self.config.max_reauth_ms.get(at)).copied().unwrap_or(0)
    }
}
