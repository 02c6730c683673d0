//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) on the server's side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use meta::Image;
use meta::scram::{ScramCredential, ScramMechanism};
use ring::{digest, hmac};

use super::Step;

/// Bytes of our part of the nonce, before base64.
const NONCE_BYTES: usize = 24;
/// Longest message that is looked at.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

fn hmac_algorithm(mechanism: ScramMechanism) -> hmac::Algorithm {
    match mechanism {
        ScramMechanism::Sha256 => hmac::HMAC_SHA256,
        ScramMechanism::Sha512 => hmac::HMAC_SHA512,
    }
}

fn digest_algorithm(mechanism: ScramMechanism) -> &'static digest::Algorithm {
    match mechanism {
        ScramMechanism::Sha256 => &digest::SHA256,
        ScramMechanism::Sha512 => &digest::SHA512,
    }
}

fn sign(mechanism: ScramMechanism, key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac_algorithm(mechanism), key), message)
}

/// What is kept of a salted password.
pub(crate) fn credential(
    mechanism: ScramMechanism,
    salted_password: &[u8],
    salt: Bytes,
    iterations: i32,
) -> ScramCredential {
    let client_key = sign(mechanism, salted_password, b"Client Key");
    let stored_key = digest::digest(digest_algorithm(mechanism), client_key.as_ref());
    let server_key = sign(mechanism, salted_password, b"Server Key");
    ScramCredential {
        salt,
        stored_key: Bytes::copy_from_slice(stored_key.as_ref()),
        server_key: Bytes::copy_from_slice(server_key.as_ref()),
        iterations,
    }
}

/// The salt told for a user that is not there: always the same, so that it says nothing.
fn salt_from_entropy(secret: &[u8; 32], user: &str) -> Bytes {
    let tag = sign(ScramMechanism::Sha256, secret, user.as_bytes());
    Bytes::copy_from_slice(tag.as_ref().get(..20).unwrap_or_default())
}

/// The server's side of one exchange.
#[derive(Debug)]
pub(super) struct ScramServer {
    mechanism: ScramMechanism,
    first: Option<First>,
}

/// What the first messages agreed on.
#[derive(Debug)]
struct First {
    user: String,
    /// `None` for a user that is not there: the exchange goes on and fails at its end.
    credential: Option<ScramCredential>,
    gs2_header: String,
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

impl ScramServer {
    pub(super) fn new(mechanism: ScramMechanism) -> Self {
        Self { mechanism, first: None }
    }

    pub(super) fn step(&mut self, image: &Image, secret: &[u8; 32], message: &[u8]) -> Step {
        let failed = Step::Failed(format!(
            "Authentication failed during authentication due to invalid credentials with SASL mechanism {}",
            self.mechanism.name()
        ));
        let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= MESSAGE_BYTES_MAX);
        let Some(text) = text else { return failed };
        match self.first.take() {
            None => self.client_first(image, secret, text).unwrap_or(failed),
            Some(first) => self.client_final(&first, text).unwrap_or(failed),
        }
    }

    /// `n,[a=authzid],n=user,r=nonce[,extensions]`
    fn client_first(&mut self, image: &Image, secret: &[u8; 32], text: &str) -> Option<Step> {
        let (binding, rest) = text.split_once(',')?;
        let (authorize, bare) = rest.split_once(',')?;
        // Channel binding is not offered.
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let mut parts = bare.split(',');
        let user = unescape(parts.next()?.strip_prefix("n=")?)?;
        let client_nonce = parts.next()?.strip_prefix("r=").filter(|nonce| !nonce.is_empty())?;
        // The one extension of Kafka's means a delegation token, which nobody has here.
        if parts.any(|extension| extension.starts_with("m=") || extension == "tokenauth=true") {
            return None;
        }
        let authorize = match authorize {
            "" => String::new(),
            given => unescape(given.strip_prefix("a=")?)?,
        };
        if user.is_empty() || (!authorize.is_empty() && authorize != user) {
            return None;
        }
        let mut random = [0; NONCE_BYTES];
        getrandom::fill(&mut random).ok()?;
        let nonce = format!("{client_nonce}{}", STANDARD.encode(random));
        let credential = image.scram.get(&(user.clone(), self.mechanism)).cloned();
        let (salt, iterations) = match &credential {
            Some(known) => (known.salt.clone(), known.iterations),
            None => (salt_from_entropy(secret, &user), ScramMechanism::MIN_ITERATIONS),
        };
        let server_first = format!("r={nonce},s={},i={iterations}", STANDARD.encode(&salt));
        let answer = Bytes::copy_from_slice(server_first.as_bytes());
        self.first = Some(First {
            user,
            credential,
            gs2_header: text.get(..text.len() - bare.len())?.to_owned(),
            nonce,
            client_first_bare: bare.to_owned(),
            server_first,
        });
        Some(Step::Continue(answer))
    }

    /// `c=biws,r=nonce,p=proof`
    fn client_final(&self, first: &First, text: &str) -> Option<Step> {
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut parts = without_proof.split(',');
        let binding = STANDARD.decode(parts.next()?.strip_prefix("c=")?).ok()?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        // Both are part of the proof; an attacker in the middle could still play one exchange into another
        // (CVE-2024-56128).
        if binding != first.gs2_header.as_bytes() || nonce != first.nonce {
            return None;
        }
        let proof = STANDARD.decode(proof).ok()?;
        let credential = first.credential.as_ref()?;
        let message = format!("{},{},{without_proof}", first.client_first_bare, first.server_first);
        let signature = sign(self.mechanism, &credential.stored_key, message.as_bytes());
        if proof.len() != signature.as_ref().len() {
            return None;
        }
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(p, s)| p ^ s).collect();
        let stored = digest::digest(digest_algorithm(self.mechanism), &client_key);
        // Of public hashes: their comparison by `==` tells nothing that helps to find the key.
        if stored.as_ref() != &*credential.stored_key {
            return None;
        }
        let server = sign(self.mechanism, &credential.server_key, message.as_bytes());
        let answer = format!("v={}", STANDARD.encode(server.as_ref()));
        Some(Step::Done { answer: answer.into_bytes().into(), user: first.user.clone(), expires_ms: None })
    }
}

/// `=2C` is a comma, `=3D` an equals sign, and there is no other.
fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('=') {
        out.push_str(before);
        let (code, after) = after.split_at_checked(2)?;
        out.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}
