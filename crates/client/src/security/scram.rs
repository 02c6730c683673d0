//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677): salting passwords, and the client's side of an exchange.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// Fewest iterations that a server may ask for, as in Kafka.
const MIN_ITERATIONS: u32 = 4096;
/// Most that this client takes the time for.
const MAX_ITERATIONS: u32 = 1_000_000;
/// Bytes of the nonce, before base64.
const NONCE_BYTES: usize = 24;

/// A SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramMechanism {
    /// `SCRAM-SHA-256`.
    Sha256,
    /// `SCRAM-SHA-512`.
    Sha512,
}

impl ScramMechanism {
    /// The mechanism of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Its number in Kafka's protocol.
    pub fn code(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// The mechanism of a number in Kafka's protocol.
    pub fn from_code(code: i8) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| mechanism.code() == code)
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn sign(self, key: &[u8], message: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac(), key), message)
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    /// A password, salted: what a server can be given instead of it.
    pub fn salted_password(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let (algorithm, size) = match self {
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; size];
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

/// What a server keeps of a user's password: enough to check it, not enough to log in with it elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramSecret {
    /// Mechanism that the keys are of.
    pub mechanism: ScramMechanism,
    /// Salt.
    pub salt: Vec<u8>,
    /// Iterations of the salting.
    pub iterations: NonZeroU32,
    /// Hash of the client's key.
    pub stored_key: Vec<u8>,
    /// The server's key.
    pub server_key: Vec<u8>,
}

impl fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramSecret")
            .field("mechanism", &self.mechanism)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl ScramSecret {
    /// The secret of a password.
    pub fn new(mechanism: ScramMechanism, password: &[u8], salt: Vec<u8>, iterations: NonZeroU32) -> Self {
        let salted = mechanism.salted_password(password, &salt, iterations);
        let client_key = mechanism.sign(&salted, b"Client Key");
        let server_key = mechanism.sign(&salted, b"Server Key").as_ref().to_vec();
        Self { mechanism, stored_key: mechanism.hash(client_key.as_ref()), server_key, salt, iterations }
    }

    /// Whether this is the password; takes the same time however wrong it is.
    pub fn matches(&self, password: &[u8]) -> bool {
        let other = Self::new(self.mechanism, password, self.salt.clone(), self.iterations);
        is_same(&other.stored_key, &self.stored_key)
    }

    /// Signs with the stored key what a client has to have signed.
    pub fn client_signature(&self, message: &[u8]) -> Vec<u8> {
        self.mechanism.sign(&self.stored_key, message).as_ref().to_vec()
    }

    /// Signs with the server's key what proves the server.
    pub fn server_signature(&self, message: &[u8]) -> Vec<u8> {
        self.mechanism.sign(&self.server_key, message).as_ref().to_vec()
    }

    /// Whether this is the client's key.
    pub fn is_client_key(&self, key: &[u8]) -> bool {
        is_same(&self.mechanism.hash(key), &self.stored_key)
    }
}

fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0u8, |d, (a, b)| d | (a ^ b));
    std::hint::black_box(differences) == 0 && a.len() == b.len()
}

/// One exchange, as its client sees it.
pub(crate) struct ScramClient {
    mechanism: ScramMechanism,
    user: String,
    password: String,
    nonce: String,
    /// What the server has to prove at the end.
    expected: Option<Vec<u8>>,
}

impl fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramClient").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl ScramClient {
    pub(super) fn new(mechanism: ScramMechanism, user: &str, password: &str) -> Result<Self, String> {
        let mut random = [0; NONCE_BYTES];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        Ok(Self::with_nonce(mechanism, user, password, STANDARD.encode(random)))
    }

    fn with_nonce(mechanism: ScramMechanism, user: &str, password: &str, nonce: String) -> Self {
        Self { mechanism, user: user.to_owned(), password: password.to_owned(), nonce, expected: None }
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", self.user.replace('=', "=3D").replace(',', "=2C"), self.nonce)
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare()).into_bytes()
    }

    /// Answers the server's first message.
    pub(super) fn last(&mut self, server_first: &[u8]) -> Result<Vec<u8>, String> {
        let text = std::str::from_utf8(server_first).map_err(|_| "not text")?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = part("r=").ok_or("no nonce")?;
        let salt = part("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or("no salt")?;
        let iterations: u32 = part("i=").and_then(|count| count.parse().ok()).ok_or("no iterations")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server's nonce does not begin with ours".into());
        }
        let count =
            NonZeroU32::new(iterations).filter(|i| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&i.get()));
        let count = count.ok_or_else(|| format!("{iterations} iterations are too few or too many"))?;
        let salted = self.mechanism.salted_password(self.password.as_bytes(), &salt, count);
        let client_key = self.mechanism.sign(&salted, b"Client Key");
        let stored_key = self.mechanism.hash(client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{text},{without_proof}", self.first_bare());
        let signature = self.mechanism.sign(&stored_key, message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(k, s)| k ^ s).collect();
        let server_key = self.mechanism.sign(&salted, b"Server Key");
        self.expected = Some(self.mechanism.sign(server_key.as_ref(), message.as_bytes()).as_ref().to_vec());
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Whether the server proved that it knows the credential too.
    pub(super) fn check(&self, server_last: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(server_last).map_err(|_| "not text")?;
        let proof = text.strip_prefix("v=").and_then(|value| STANDARD.decode(value).ok());
        match (&self.expected, proof) {
            (Some(expected), Some(proof)) if *expected == proof => Ok(()),
            _ => Err("the server could not prove that it knows the password".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let mut client = ScramClient::with_nonce(ScramMechanism::Sha256, "user", "pencil", nonce);
        assert_eq!(client.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = client
            .last(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert_eq!(
            String::from_utf8(last.unwrap()).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        client.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(client.check(b"v=AAAA").is_err());
    }

    #[test]
    fn servers_that_ask_too_little_or_answer_another_are_refused() {
        let client = || ScramClient::with_nonce(ScramMechanism::Sha512, "u", "p", "abc".into());
        for answer in
            ["r=abc,s=AAAA,i=4096", "r=xyz1,s=AAAA,i=4096", "r=abcd,s=AAAA,i=1", "r=abcd,i=4096", ""]
        {
            assert!(client().last(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
