//! Who may come in. The server asks; where users are kept is the caller's business.

use std::fmt;
use std::net::SocketAddr;

/// What a CONNECT says about its sender.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Client id as it will be used (a made-up one included).
    pub client_id: &'a str,
    /// User name, if one was given.
    pub user_name: Option<&'a str>,
    /// Password, if one was given.
    pub password: Option<&'a [u8]>,
    /// The client's address.
    pub peer: SocketAddr,
}

/// Answer to [`Authenticator::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// May connect.
    Accept,
    /// User name unknown or password wrong: return code 5 (v3: as Mosquitto) or reason 0x87.
    NotAuthorized,
}

/// Checks the credentials of clients that give a user name.
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Decides about one CONNECT. Must not block for long.
    fn check(&self, credentials: &Credentials<'_>) -> Verdict;
}
