//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) at the server's side, as the data of AUTH packets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::security::scram::{ScramMechanism, ScramSecret};
use ring::hmac;

/// Iterations that users who do not exist seem to have.
const USUAL_ITERATIONS: u32 = 4096;
const NONCE_BYTES: usize = 18;

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub(crate) struct Exchange {
    mechanism: ScramMechanism,
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
    pub(crate) mechanism: ScramMechanism,
    pub(crate) stored_key: Vec<u8>,
    /// Data for the client, with which the server proves itself.
    pub(crate) server_final: String,
}

impl Exchange {
    /// The client's first message; answers the exchange and the server's first message. `None` = it is malformed.
    pub(crate) fn begin(
        mechanism: ScramMechanism,
        client_first: &[u8],
        secret_of: impl FnOnce(&str) -> Option<ScramSecret>,
    ) -> Option<(Self, String)> {
        let mut random = [0u8; NONCE_BYTES];
        getrandom::fill(&mut random).ok()?;
        Self::begin_with(mechanism, client_first, &STANDARD.encode(random), secret_of)
    }

    fn begin_with(
        mechanism: ScramMechanism,
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
        let (salt, iterations) = match &secret {
            Some(s) => (STANDARD.encode(&s.salt), s.iterations.get()),
            // Always the same for a name, so that nobody learns which names exist.
            None => (STANDARD.encode(pretended_salt(&user)?), USUAL_ITERATIONS),
        };
        let nonce = format!("{client_nonce}{server_nonce}");
        let server_first = format!("r={nonce},s={salt},i={iterations}");
        let exchange = Self {
            mechanism,
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
        let signature = secret.client_signature(signed.as_bytes());
        let proof = STANDARD.decode(proof).ok().filter(|p| p.len() == signature.len())?;
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if !secret.is_client_key(&client_key) {
            return None;
        }
        let server_final = format!("v={}", STANDARD.encode(secret.server_signature(signed.as_bytes())));
        Some(Proven {
            user: self.user,
            mechanism: self.mechanism,
            stored_key: secret.stored_key,
            server_final,
        })
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
    static KEY: std::sync::OnceLock<Option<[u8; 32]>> = std::sync::OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).ok().map(|()| key)
    });
    let sign = |key: [u8; 32]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), user.as_bytes());
    key.map(|key| sign(key).as_ref().iter().take(16).copied().collect())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use ScramMechanism::{Sha256, Sha512};

    use super::*;

    fn secret() -> ScramSecret {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramSecret::new(Sha256, b"pencil", salt, NonZeroU32::new(4096).unwrap())
    }

    // The example of RFC 7677, section 3.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_example_of_the_rfc() {
        let (exchange, first) =
            Exchange::begin_with(Sha256, FIRST, NONCE, |user| (user == "user").then(secret)).unwrap();
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
        let begin =
            |secret: Option<ScramSecret>| Exchange::begin_with(Sha256, FIRST, NONCE, |_| secret).unwrap().0;
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
        let first = || Exchange::begin_with(Sha256, FIRST, NONCE, |_| None).unwrap().1;
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
            assert!(Exchange::begin_with(Sha256, wrong, "x", |_| None).is_none(), "{wrong:?}");
        }
        let (exchange, _) = Exchange::begin_with(Sha512, b"n,,n=a=2Cb=3D,r=x", "y", |_| None).unwrap();
        assert_eq!(exchange.user, "a,b=");
    }
}
