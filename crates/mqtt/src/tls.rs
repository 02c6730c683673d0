//! TLS of a listener: certificate, key, who may connect, from PEM files as Mosquitto's options name them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

mod any_name;
pub(crate) mod der;

/// Where a listener's TLS comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// `certfile`: the server's certificate and those between it and its root.
    pub certificate: PathBuf,
    /// `keyfile`: its private key.
    pub key: PathBuf,
    /// `cafile`: certificates that clients' certificates may come from.
    pub ca_file: Option<PathBuf>,
    /// `capath`: a directory of such files.
    pub ca_dir: Option<PathBuf>,
    /// `crlfile`: certificates taken back.
    pub crl_file: Option<PathBuf>,
    /// `require_certificate`: clients without a certificate are refused.
    pub require_certificate: bool,
    /// `tls_version tlsv1.3`: no version before it.
    pub only_tls_1_3: bool,
    /// `ciphers` and `ciphers_tls1.3`: names as OpenSSL writes them; none = all that are safe.
    pub ciphers: Vec<String>,
}

/// What is wrong with a listener's TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{option} {}: {why}", path.display())]
    File {
        /// Mosquitto's name of the option.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A setting that cannot be met.
    #[error("{0}")]
    Setting(String),
}

/// The names of OpenSSL for what this TLS library has.
const CIPHERS: &[(&str, rustls::CipherSuite)] = {
    use rustls::CipherSuite as C;
    &[
        ("TLS_AES_128_GCM_SHA256", C::TLS13_AES_128_GCM_SHA256),
        ("TLS_AES_256_GCM_SHA384", C::TLS13_AES_256_GCM_SHA384),
        ("TLS_CHACHA20_POLY1305_SHA256", C::TLS13_CHACHA20_POLY1305_SHA256),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", C::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", C::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", C::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
        ("ECDHE-RSA-AES128-GCM-SHA256", C::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
        ("ECDHE-RSA-AES256-GCM-SHA384", C::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        ("ECDHE-RSA-CHACHA20-POLY1305", C::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ]
};

/// All certificates of a PEM file.
///
/// # Errors
/// [`TlsError::File`].
pub fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File { option, path: path.into(), why };
    let pem = std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong("holds no certificate".to_owned())),
        Ok(found) => Ok(found),
        Err(e) => Err(wrong(format!("is not PEM: {e}"))),
    }
}

/// The private key in a PEM file.
///
/// # Errors
/// [`TlsError::File`].
pub fn private_key(option: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |why: String| TlsError::File { option, path: path.into(), why };
    let pem = std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
        return Err(wrong("is encrypted: the server cannot ask for its passphrase".to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|e| wrong(format!("holds no private key: {e}")))
}

/// The roots in a file and in every file of a directory.
///
/// # Errors
/// [`TlsError::File`], also when there is not one in all.
pub fn roots(file: Option<&Path>, dir: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = file {
        let wrong = |why: String| TlsError::File { option: "cafile", path: path.into(), why };
        for certificate in certificates("cafile", path)? {
            store
                .add(certificate)
                .map_err(|e| wrong(format!("holds a certificate that cannot be used: {e}")))?;
        }
    }
    if let Some(path) = dir {
        let wrong = |why: String| TlsError::File { option: "capath", path: path.into(), why };
        let listing = std::fs::read_dir(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        for entry in listing.flatten().filter(|e| e.path().is_file()) {
            // A directory made by c_rehash holds other files too.
            let Ok(found) = certificates("capath", &entry.path()) else { continue };
            store.add_parsable_certificates(found);
        }
        if store.is_empty() {
            return Err(wrong("holds no certificate".to_owned()));
        }
    }
    Ok(store)
}

/// The provider with the ciphers that are named; unknown names are left out, as OpenSSL does.
///
/// # Errors
/// [`TlsError::Setting`] when none is left.
pub fn provider(ciphers: &[String]) -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = ring::default_provider();
    let wanted: Vec<_> = CIPHERS.iter().filter(|(name, _)| ciphers.iter().any(|c| c == name)).collect();
    if ciphers.is_empty() {
        return Ok(Arc::new(provider));
    }
    if wanted.is_empty() {
        let known: Vec<_> = CIPHERS.iter().map(|(name, _)| *name).collect();
        return Err(TlsError::Setting(format!(
            "ciphers {}: none of them is supported: {}",
            ciphers.join(":"),
            known.join(":")
        )));
    }
    provider.cipher_suites.retain(|s| wanted.iter().any(|(_, suite)| *suite == s.suite()));
    Ok(Arc::new(provider))
}

/// The protocol versions offered.
pub fn versions(only_tls_1_3: bool) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    if only_tls_1_3 { &NEWEST } else { rustls::ALL_VERSIONS }
}

/// What a client (a tool, a bridge) does about TLS. `identity` is its certificate and its key.
///
/// # Errors
/// [`TlsError`]
pub fn client_config(
    roots: RootCertStore,
    identity: Option<(&Path, &Path)>,
    insecure: bool,
    only_tls_1_3: bool,
    ciphers: &[String],
) -> Result<ClientConfig, TlsError> {
    let wrong = |error: rustls::Error| TlsError::Setting(error.to_string());
    let provider = provider(ciphers)?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(only_tls_1_3))
        .map_err(wrong)?;
    let builder = if insecure {
        let verifier = any_name::AnyName::new(roots, provider).map_err(TlsError::Setting)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.with_root_certificates(roots)
    };
    match identity {
        Some((certificate, key)) => {
            let chain = certificates("certificate", certificate)?;
            builder.with_client_auth_cert(chain, private_key("key", key)?).map_err(wrong)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

impl TlsFiles {
    /// The server's certificate and those above it. As OpenSSL does for Mosquitto, what is missing in `certfile` is
    /// taken from `cafile`.
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let mut chain = certificates("certfile", &self.certificate)?;
        let known = match &self.ca_file {
            Some(path) => certificates("cafile", path)?,
            None => Vec::new(),
        };
        for _ in 0..known.len() {
            let Some((issuer, _)) = chain.last().and_then(|c| der::names(c)) else { break };
            let above = known.iter().find(|c| {
                // The root itself need not be sent: a client has it or does not trust it.
                der::names(c).is_some_and(|(by, name)| name == issuer && by != name)
            });
            let Some(above) = above.filter(|c| !chain.contains(c)).cloned() else { break };
            chain.push(above);
        }
        Ok(chain)
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]: which file, and what is wrong with it.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider(&self.ciphers)?;
        let chain = self.chain()?;
        let key = private_key("keyfile", &self.key)?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(self.only_tls_1_3))
            .map_err(|e| TlsError::Setting(format!("tls_version and ciphers contradict each other: {e}")))?;
        let builder = if self.require_certificate {
            if self.ca_file.is_none() && self.ca_dir.is_none() {
                return Err(TlsError::Setting("require_certificate needs cafile or capath".to_owned()));
            }
            let roots = roots(self.ca_file.as_deref(), self.ca_dir.as_deref())?;
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if let Some(path) = &self.crl_file {
                // As with Mosquitto only the client's own certificate is looked up, in a list that may be old.
                verifier = verifier
                    .with_crls(revocations(path)?)
                    .only_check_end_entity_revocation()
                    .allow_unknown_revocation_status();
            }
            let verifier = verifier.build().map_err(|e| TlsError::Setting(format!("cafile: {e}")))?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain, key);
        config.map(Arc::new).map_err(|e| TlsError::File {
            option: "keyfile",
            path: self.key.clone(),
            why: format!("does not fit {}: {e}", self.certificate.display()),
        })
    }
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File { option: "crlfile", path: path.into(), why };
    let pem = std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong("holds no revocation list".to_owned())),
        Ok(found) => Ok(found),
        Err(e) => Err(wrong(format!("is not PEM: {e}"))),
    }
}
