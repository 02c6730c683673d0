//! TLS: which servers are trusted, and the certificate that the client shows.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::store;
use crate::config::Values;
use crate::error::ConfigError;

/// Where the system keeps the authorities it trusts.
const SYSTEM_AUTHORITIES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// TLS as configured; certificates are read when a connection is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    authorities: Option<Pem>,
    chain: Option<Pem>,
    key: Option<Pem>,
    passwords: Passwords,
    check_name: bool,
}

/// What opens stores and keys.
#[derive(Clone, Default, PartialEq, Eq)]
struct Passwords {
    truststore: Option<String>,
    keystore: Option<String>,
    key: Option<String>,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Pem {
    File(PathBuf),
    Text(String),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Text(_) => f.write_str("[hidden]"),
        }
    }
}

impl Pem {
    fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => {
                let told =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                std::fs::read(path).map_err(told)
            }
        }
    }
}

impl TlsSettings {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let mut pem = |inline: &str, location: &str| -> Result<Option<Pem>, ConfigError> {
            let text = values.string(inline, "")?;
            let path = values.string(location, "")?;
            Ok(match (text.trim().is_empty(), path.trim().is_empty()) {
                (false, _) => Some(Pem::Text(text)),
                (true, false) => Some(Pem::File(PathBuf::from(path.trim()))),
                (true, true) => None,
            })
        };
        let authorities = pem("ssl.truststore.certificates", "ssl.truststore.location")?;
        let chain = pem("ssl.keystore.certificate.chain", "ssl.keystore.location")?;
        let key = pem("ssl.keystore.key", "ssl.keystore.location")?;
        // (What a store is shows when it is read.)
        for ignored in ["ssl.truststore.type", "ssl.keystore.type"] {
            values.optional(ignored)?;
        }
        let passwords = Passwords {
            truststore: values.optional("ssl.truststore.password")?,
            keystore: values.optional("ssl.keystore.password")?,
            key: values.optional("ssl.key.password")?,
        };
        let name = values.string("ssl.endpoint.identification.algorithm", "https")?;
        Ok(Self { authorities, chain, key, passwords, check_name: name.trim().eq_ignore_ascii_case("https") })
    }

    pub(super) fn client_config(&self) -> io::Result<rustls::ClientConfig> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider))
                .build()
                .map_err(|error| invalid(format!("truststore: {error}")))?;
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?;
        let builder = if self.check_name {
            builder.with_webpki_verifier(verifier)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
        };
        let (Some(chain), Some(key)) = (&self.chain, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let passwords = &self.passwords;
        let identity = match (chain, key) {
            (Pem::Text(chain), Pem::Text(key)) => store::certificates(chain.as_bytes())
                .and_then(|chain| Ok((chain, store::private_key(key.as_bytes(), passwords.key.as_deref())?))),
            _ => store::identity(&key.read()?, passwords.keystore.as_deref(), passwords.key.as_deref()),
        };
        let (chain, key) = identity.map_err(|error| invalid(format!("keystore: {error}")))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| invalid(format!("keystore: {error}")))
    }

    fn roots(&self) -> io::Result<RootCertStore> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let Some(pem) = &self.authorities else {
            return system_authorities()
                .ok_or_else(|| invalid("no ssl.truststore.location, and the system trusts nobody".into()));
        };
        let mut roots = RootCertStore::empty();
        let authorities = store::authorities(&pem.read()?, self.passwords.truststore.as_deref());
        for authority in authorities.map_err(|error| invalid(format!("truststore: {error}")))? {
            roots.add(authority).map_err(|error| invalid(format!("truststore: {error}")))?;
        }
        Ok(roots)
    }

    /// Shakes hands over a connected socket.
    pub(crate) async fn connect(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{host}: {error}")))?;
        let settings = self.clone();
        let config = tokio::task::spawn_blocking(move || settings.client_config())
            .await
            .map_err(|error| io::Error::other(error.to_string()))??;
        TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("SSL handshake failed: {error}")))
    }
}

/// The authorities that the system trusts; `None` when it keeps none where systems keep them.
pub fn system_authorities() -> Option<RootCertStore> {
    let pem = SYSTEM_AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok())?;
    let mut roots = RootCertStore::empty();
    // One that nobody can read is no reason to trust none.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    Some(roots)
}

/// Trusts a server's certificate whatever name is on it (`ssl.endpoint.identification.algorithm=`).
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name_only = |error: &rustls::Error| {
            matches!(
                error,
                rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
                )
            )
        };
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if name_only(&error) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
