//! Keys that sign tokens (RFC 7517), from a file, and signatures made with them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

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
    keys: Vec<Key>,
}

impl KeyFile {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let (modified, keys) = read(&path)?;
        Ok(Self { path, held: Mutex::new(Held { modified, keys }) })
    }

    /// The keys; a file that cannot be read any more leaves the ones that were read.
    pub(super) fn keys(&self) -> Vec<Key> {
        let mut held = self.held.lock();
        let modified = std::fs::metadata(&self.path).and_then(|meta| meta.modified()).ok();
        if modified != held.modified {
            match read(&self.path) {
                Ok((modified, keys)) => *held = Held { modified, keys },
                Err(why) => {
                    tracing::error!(path = %self.path.display(), why, "keys of tokens not read again");
                    held.modified = modified;
                }
            }
        }
        held.keys.clone()
    }
}

fn read(path: &Path) -> Result<(Option<SystemTime>, Vec<Key>), String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let meta = std::fs::metadata(path).map_err(told)?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("{} is too large for a file of keys", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(told)?;
    let value: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let keys: Vec<Key> =
        value.get("keys").and_then(Value::as_array).into_iter().flatten().filter_map(key).collect();
    if keys.is_empty() {
        return Err(format!(
            "{} has no key that can be used (RSA, EC P-256 or P-384, Ed25519)",
            path.display()
        ));
    }
    Ok((meta.modified().ok(), keys))
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
