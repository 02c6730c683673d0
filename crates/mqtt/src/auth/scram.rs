//! SCRAM-SHA-256 (RFC 5802, RFC 7677) at the server's side, as the data of AUTH packets.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// The authentication method's name.
pub(crate) const METHOD: &str = "SCRAM-SHA-256";
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Rounds that users who do not exist seem to have.
const USUAL_ROUNDS: u32 = 4096;
const NONCE_BYTES: usize = 18;

/// What a server knows of a user's password: enough to check it, not enough to log in elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramSecret {
    /// Salt.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub rounds: NonZeroU32,
    /// Hash of the client's key.
    pub stored_key: Vec<u8>,
    /// The server's key.
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramSecret").field("rounds", &self.rounds).finish_non_exhaustive()
    }
}

impl ScramSecret {
    /// The secret of a password.
    pub fn new(password: &[u8], salt: Vec<u8>, rounds: NonZeroU32) -> Self {
        let mut salted = [0u8; KEY_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key).as_ref().to_vec();
        Self { salt, rounds, stored_key, server_key: sign(&salted, b"Server Key") }
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub(crate) struct Exchange {
    user: String,
    secret: Option<ScramSecret>,
    nonce: String,
    first_bare: String,
    server_first: String,
}

/// An exchange that went well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) user: String,
    pub(crate) stored_key: Vec<u8>,
    /// Data for the client, with which the server proves itself.
    pub(crate) server_final: String,
}

impl Exchange {
    /// The client's first message; answers the exchange and the server's first message. `None` = it is malformed.
    pub(crate) fn begin(
        client_first: &[u8],
        secret_of: impl FnOnce(&str) -> Option<ScramSecret>,
    ) -> Option<(Self, String)> {
        let mut random = [0u8; NONCE_BYTES];
        getrandom::fill(&mut random).ok()?;
        Self::begin_with(client_first, &STANDARD.encode(random), secret_of)
    }

    fn begin_with(
        client_first: &[u8],
        server_nonce: &str,
        secret_of: impl FnOnce(&str) -> Option<ScramSecret>,
    ) -> Option<(Self, String)> {
        let text = std::str::from_utf8(client_first).ok()?;
        // No channel binding, and nobody may act for somebody else.
        let first_bare = text.strip_prefix("n,,").or_else(|| text.strip_prefix("y,,"))?;
        let mut fields = first_bare.split(',');
        let user = unescaped(fields.next()?.strip_prefix("n=")?)?;
        let client_nonce = fields.next()?.strip_prefix("r=").filter(|n| !n.is_empty())?;
        let secret = secret_of(&user);
        let (salt, rounds) = match &secret {
            Some(s) => (STANDARD.encode(&s.salt), s.rounds.get()),
            // Always the same for a name, so that nobody learns which names exist.
            None => (STANDARD.encode(pretended_salt(&user)?), USUAL_ROUNDS),
        };
        let nonce = format!("{client_nonce}{server_nonce}");
        let server_first = format!("r={nonce},s={salt},i={rounds}");
        let exchange = Self {
            user,
            secret,
            nonce,
            first_bare: first_bare.to_owned(),
            server_first: server_first.clone(),
        };
        Some((exchange, server_first))
    }

    /// The client's final message; `None` = it proves nothing.
    pub(crate) fn finish(self, client_final: &[u8]) -> Option<Proven> {
        let text = std::str::from_utf8(client_final).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let binding = fields.next()?.strip_prefix("c=")?;
        if !["biws", "eSws"].contains(&binding) || fields.next()?.strip_prefix("r=")? != self.nonce {
            return None;
        }
        let secret = self.secret?;
        let signed = format!("{},{},{without_proof}", self.first_bare, self.server_first);
        let proof = STANDARD.decode(proof).ok().filter(|p| p.len() == KEY_BYTES)?;
        let signature = sign(&secret.stored_key, signed.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let hash = digest::digest(&digest::SHA256, &client_key);
        let differences = hash.as_ref().iter().zip(&secret.stored_key).fold(0u8, |d, (a, b)| d | (a ^ b));
        if std::hint::black_box(differences) != 0 || secret.stored_key.len() != KEY_BYTES {
            return None;
        }
        let server_final = format!("v={}", STANDARD.encode(sign(&secret.server_key, signed.as_bytes())));
        Some(Proven { user: self.user, stored_key: secret.stored_key, server_final })
    }
}

fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (c, rest) = match part.get(..2)? {
            "2C" => (',', part.get(2..)?),
            "3D" => ('=', part.get(2..)?),
            _ => return None,
        };
        out.push(c);
        out.push_str(rest);
    }
    (!out.is_empty()).then_some(out)
}

fn pretended_salt(user: &str) -> Option<Vec<u8>> {
    static KEY: std::sync::OnceLock<Option<[u8; KEY_BYTES]>> = std::sync::OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0u8; KEY_BYTES];
        getrandom::fill(&mut key).ok().map(|()| key)
    });
    key.map(|key| sign(&key, user.as_bytes()).into_iter().take(16).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> ScramSecret {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramSecret::new(b"pencil", salt, NonZeroU32::new(4096).unwrap())
    }

    // The example of RFC 7677, section 3.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_example_of_the_rfc() {
        let (exchange, first) =
            Exchange::begin_with(FIRST, NONCE, |user| (user == "user").then(secret)).unwrap();
        assert_eq!(
            first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let proven = exchange.finish(FINAL).unwrap();
        assert_eq!(proven.user, "user");
        assert_eq!(proven.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn whoever_does_not_know_the_password_proves_nothing() {
        let begin = |secret: Option<ScramSecret>| Exchange::begin_with(FIRST, NONCE, |_| secret).unwrap().0;
        let mut other = secret();
        other.stored_key[0] ^= 1;
        assert_eq!(begin(Some(other)).finish(FINAL), None);
        assert_eq!(begin(None).finish(FINAL), None);
        let text = String::from_utf8(FINAL.to_vec()).unwrap();
        for wrong in [
            text.replace("biws", "cD10"),
            text.replace("c=biws,", ""),
            text.replace("r=rOpr", "r=rOps"),
            text.replace("dHzb", "dHzc"),
            text.replace(",p=", ",q="),
            text.replace("p=dHzb", "p="),
            String::new(),
        ] {
            assert_eq!(begin(Some(secret())).finish(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn names_that_do_not_exist_look_like_those_that_do() {
        let first = || Exchange::begin_with(FIRST, NONCE, |_| None).unwrap().1;
        assert_eq!(first(), first());
        assert!(first().ends_with(",i=4096"));
    }

    #[test]
    fn malformed_first_messages() {
        for wrong in [
            &b""[..],
            b"n,,",
            b"p=tls-unique,,n=u,r=x",
            b"n,a=v,n=u,r=x",
            b"n,,n=,r=x",
            b"n,,n=u,r=",
            b"n,,n=a=b,r=x",
            b"n,,n=\xff,r=x",
        ] {
            assert!(Exchange::begin_with(wrong, "x", |_| None).is_none(), "{wrong:?}");
        }
        let (exchange, _) = Exchange::begin_with(b"n,,n=a=2Cb=3D,r=x", "y", |_| None).unwrap();
        assert_eq!(exchange.user, "a,b=");
    }
}
