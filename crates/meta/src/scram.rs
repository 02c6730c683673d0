//! Credentials of SCRAM users: what proves a password without being one.

use std::fmt;

use bytes::Bytes;

/// A SCRAM mechanism (numbers are the protocol's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScramMechanism {
    /// `SCRAM-SHA-256`.
    Sha256,
    /// `SCRAM-SHA-512`.
    Sha512,
}

impl ScramMechanism {
    /// The number on the wire.
    pub fn code(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// The mechanism of a number on the wire.
    pub fn from_code(code: i8) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| mechanism.code() == code)
    }

    /// The mechanism's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Fewest iterations that a credential may have.
    pub const MIN_ITERATIONS: i32 = 4096;
    /// Most iterations that a credential may have.
    pub const MAX_ITERATIONS: i32 = 16_384;
}

/// What the broker keeps of a user's password (RFC 5802). Never shown, not even to a debugger's eye.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// Salt.
    pub salt: Bytes,
    /// H(HMAC(salted password, "Client Key")).
    pub stored_key: Bytes,
    /// HMAC(salted password, "Server Key").
    pub server_key: Bytes,
    /// Iterations of the salting.
    pub iterations: i32,
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}
