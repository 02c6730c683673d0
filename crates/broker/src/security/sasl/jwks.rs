//! Keys that sign tokens (RFC 7517), from a file or an identity provider, and signatures made with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Condvar, Mutex};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

use super::endpoint::Endpoint;

/// Largest key file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The keys of a file, read again when it changes.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    modified: Option<SystemTime>,
    keys: Arc<[Key]>,
}

impl KeyFile {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let (modified, keys) = read(&path)?;
        Ok(Self { path, held: Mutex::new(Held { modified, keys: keys.into() }) })
    }

    /// The keys; a file that cannot be read any more leaves the ones that were read.
    fn keys(&self) -> Arc<[Key]> {
        let mut held = self.held.lock();
        let modified = std::fs::metadata(&self.path).and_then(|meta| meta.modified()).ok();
        if modified != held.modified {
            match read(&self.path) {
                Ok((modified, keys)) => *held = Held { modified, keys: keys.into() },
                Err(why) => {
                    tracing::error!(path = %self.path.display(), why, "keys of tokens not read again");
                    held.modified = modified;
                }
            }
        }
        Arc::clone(&held.keys)
    }
}

fn read(path: &Path) -> Result<(Option<SystemTime>, Vec<Key>), String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let meta = std::fs::metadata(path).map_err(told)?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("{} is too large for a file of keys", path.display()));
    }
    let text = std::fs::read(path).map_err(told)?;
    let keys = parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok((meta.modified().ok(), keys))
}

fn parse(text: &[u8]) -> Result<Vec<Key>, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let keys: Vec<Key> =
        value.get("keys").and_then(Value::as_array).into_iter().flatten().filter_map(key).collect();
    if keys.is_empty() {
        return Err("there is no key that can be used (RSA, EC P-256 or P-384, Ed25519)".into());
    }
    Ok(keys)
}

/// How keys of an identity provider are kept fresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refresh {
    /// `sasl.oauthbearer.jwks.endpoint.refresh.ms`.
    pub(super) every: Duration,
    /// `sasl.oauthbearer.jwks.endpoint.retry.backoff.ms`: the first pause after a failure, which doubles …
    pub(super) retry: Duration,
    /// … up to `sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms`.
    pub(super) retry_max: Duration,
}

/// A key that nobody knew is not asked for again so soon.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(60);
/// Names of such keys that are remembered.
const UNKNOWN_KEYS_MAX: usize = 16;

/// The keys of an identity provider: fetched at start, every so often, and when a token names a key that is not
/// there. A thread of its own fetches them; it ends with this.
#[derive(Debug)]
pub(super) struct KeyUrl(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    refresh: Refresh,
    fetched: Mutex<Fetched>,
    wake: Condvar,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<[Key]>,
    /// Fetch now.
    wanted: bool,
    /// Keys that were not there, and when that was noticed.
    unknown: Vec<(String, Instant)>,
    over: bool,
}

impl KeyUrl {
    /// Fetches the keys, and goes on doing so.
    ///
    /// # Errors
    /// When they cannot be had now: a broker that could let nobody in does not start.
    pub(super) fn open(endpoint: Endpoint, refresh: Refresh) -> Result<Self, String> {
        let keys = fetch(&endpoint)?;
        let fetched = Fetched { keys: keys.into(), wanted: false, unknown: Vec::new(), over: false };
        let shared =
            Arc::new(Shared { endpoint, refresh, fetched: Mutex::new(fetched), wake: Condvar::new() });
        let run = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("token-keys".into())
            .spawn(move || run.run())
            .map_err(|error| error.to_string())?;
        Ok(Self(shared))
    }

    /// The keys, and a look at the provider's when they lack the one that a token names.
    pub(super) fn keys(&self, wanted: Option<&str>) -> Arc<[Key]> {
        let mut fetched = self.0.fetched.lock();
        if let Some(id) = wanted
            && !fetched.keys.iter().any(|key| key.id.as_deref() == Some(id))
        {
            let now = Instant::now();
            fetched.unknown.retain(|(_, noticed)| now.duration_since(*noticed) < UNKNOWN_KEY_PAUSE);
            let asked = fetched.unknown.iter().any(|(known, _)| known == id);
            if !asked && fetched.unknown.len() < UNKNOWN_KEYS_MAX {
                fetched.unknown.push((id.to_owned(), now));
                fetched.wanted = true;
                self.0.wake.notify_all();
            }
        }
        Arc::clone(&fetched.keys)
    }
}

impl Drop for KeyUrl {
    fn drop(&mut self) {
        self.0.fetched.lock().over = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let mut pause = self.refresh.every;
        let mut failures = 0u32;
        loop {
            {
                let mut fetched = self.fetched.lock();
                let until = Instant::now() + pause;
                while !fetched.over
                    && !fetched.wanted
                    && !self.wake.wait_until(&mut fetched, until).timed_out()
                {}
                if fetched.over {
                    return;
                }
                fetched.wanted = false;
            }
            match fetch(&self.endpoint) {
                Ok(keys) => {
                    self.fetched.lock().keys = keys.into();
                    (pause, failures) = (self.refresh.every, 0);
                }
                Err(why) => {
                    tracing::error!(url = self.endpoint.url(), why, "keys of tokens not fetched again");
                    let doubled = self.refresh.retry.saturating_mul(1 << failures.min(16));
                    (pause, failures) = (doubled.min(self.refresh.retry_max), failures + 1);
                }
            }
        }
    }
}

fn fetch(endpoint: &Endpoint) -> Result<Vec<Key>, String> {
    let text = endpoint.get()?;
    parse(&text).map_err(|why| format!("{}: {why}", endpoint.url()))
}

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Keys {
    File(KeyFile),
    Url(KeyUrl),
}

impl Keys {
    /// The keys; `wanted` is the one that a token names.
    pub(super) fn keys(&self, wanted: Option<&str>) -> Arc<[Key]> {
        match self {
            Self::File(file) => file.keys(),
            Self::Url(url) => url.keys(wanted),
        }
    }
}

fn key(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|what| what != "sig") {
        return None;
    }
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    let point = |size: usize| {
        let (x, y) = (bytes("x")?, bytes("y")?);
        (x.len() == size && y.len() == size).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    };
    let material = match (text("kty")?, text("crv")) {
        ("RSA", _) => Material::Rsa { n: bytes("n")?, e: bytes("e")? },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?),
        _ => return None,
    };
    Some(Key { id: text("kid").map(str::to_owned), material })
}

/// Whether one of the keys made a signature by the algorithm that the token names.
pub(super) fn verify(
    keys: &[Key],
    id: Option<&str>,
    algorithm: &str,
    message: &[u8],
    signature: &[u8],
) -> bool {
    keys.iter()
        .filter(|key| id.is_none() || key.id.is_none() || key.id.as_deref() == id)
        .any(|key| verify_one(&key.material, algorithm, message, signature))
}

/// The algorithm must fit the key: a token cannot choose how its key is used.
fn verify_one(key: &Material, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
    let unparsed = |kind: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
        UnparsedPublicKey::new(kind, key).verify(message, signature).is_ok()
    };
    match key {
        Material::Rsa { n, e } => {
            let parameters = match algorithm {
                "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                _ => return false,
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        }
        Material::P256(point) => algorithm == "ES256" && unparsed(&signature::ECDSA_P256_SHA256_FIXED, point),
        Material::P384(point) => algorithm == "ES384" && unparsed(&signature::ECDSA_P384_SHA384_FIXED, point),
        Material::Ed25519(key) => algorithm == "EdDSA" && unparsed(&signature::ED25519, key),
    }
}
