//! PLAIN (RFC 4616): user and password as they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use ring::hmac;

use super::Step;

/// Checks `[authzid] NUL user NUL password`.
pub(super) fn check(users: &BTreeMap<String, String>, message: &[u8]) -> Step {
    let failed = |why: &str| Step::Failed(why.to_owned());
    let parts: Vec<&[u8]> = message.split(|byte| *byte == 0).collect();
    let [authorize, user, password] = parts.as_slice() else {
        return Step::Failed(format!("Invalid SASL/PLAIN response: expected 3 tokens, got {}", parts.len()));
    };
    let (Ok(authorize), Ok(user)) = (std::str::from_utf8(authorize), std::str::from_utf8(user)) else {
        return failed("Authentication failed: Invalid username or password");
    };
    if user.is_empty() {
        return failed("Authentication failed: username not specified");
    }
    if password.is_empty() {
        return failed("Authentication failed: password not specified");
    }
    let known = users.get(user);
    // A user that is not there takes as long as a wrong password.
    let same = equal(known.map_or(b"", |known| known.as_bytes()), password);
    if known.is_none() || !same {
        return failed("Authentication failed: Invalid username or password");
    }
    if !authorize.is_empty() && authorize != user {
        return failed(
            "Authentication failed: Client requested an authorization id that is different from username",
        );
    }
    Step::Done { answer: Bytes::new(), user: user.to_owned(), expires_ms: None }
}

/// Compares without telling by the time it takes where the difference is.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut key = [0; 32];
    if getrandom::fill(&mut key).is_err() {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}
