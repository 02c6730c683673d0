//! Who may come in, and what they may do. The server asks two traits; where users and rights are kept is the
//! caller's business: in Mosquitto's files ([`PasswordFile`], [`AclFile`]) or anywhere else.

mod acl_file;
mod kafka;
mod login;
mod password_file;
mod rights;
pub(crate) mod scram;
mod source;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::dynsec::DynamicSecurity;

pub use acl_file::AclFile;
pub use client::security::scram::{ScramMechanism, ScramSecret};
pub(crate) use login::{Login, Outcome, Proof, scram_secret};
pub use password_file::{Hashing, PasswordFile, PasswordHash};
pub(crate) use rights::Rights;
pub(crate) use source::Source;

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
    /// Decides about one CONNECT. Called where blocking for as long as a password takes to hash is allowed.
    fn check(&self, credentials: &Credentials<'_>) -> Verdict;

    /// Whether it decides about this user. About others the users of the log are asked (`kafka-configs`), if the
    /// door knows any.
    fn knows(&self, _user_name: &str) -> bool {
        true
    }

    /// What is known of a user's password for SCRAM-SHA-256; `None` = it has to be sent.
    fn scram_secret(&self, _user_name: &str) -> Option<ScramSecret> {
        None
    }
}

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    /// User name; `None` = anonymous.
    pub user_name: Option<&'a str>,
    /// Client id.
    pub client_id: &'a str,
    /// The client's address.
    pub peer: SocketAddr,
}

/// What somebody wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Get a message of this topic.
    Read,
    /// Publish to this topic.
    Write,
    /// Subscribe to this filter.
    Subscribe,
    /// Unsubscribe from this filter.
    Unsubscribe,
}

/// Decides what a client may do. One object may stand behind several listeners and protocols.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether `who` may do that with `topic`. Must not block.
    fn allows(&self, who: &Principal<'_>, access: Access, topic: &str) -> bool;

    /// Changes whenever an answer may have changed: answers of one version may be remembered.
    fn version(&self) -> u64 {
        0
    }

    /// Dynamic security that it is part of: who may publish there, changes it by messages.
    fn control(&self) -> Option<&Arc<DynamicSecurity>> {
        None
    }
}
