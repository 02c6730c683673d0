//! TLS: which servers are trusted, and the certificate that the client shows.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

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
    check_name: bool,
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
                let bytes = std::fs::read(path).map_err(told)?;
                if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
                    return Ok(bytes);
                }
                let text = format!(
                    "{} is not PEM, the one format this client reads: openssl pkcs12 -in {0} -nodes -out {0}.pem",
                    path.display()
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
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
        for ignored in [
            "ssl.truststore.type",
            "ssl.truststore.password",
            "ssl.keystore.type",
            "ssl.keystore.password",
            "ssl.key.password",
        ] {
            values.optional(ignored)?;
        }
        let name = values.string("ssl.endpoint.identification.algorithm", "https")?;
        Ok(Self { authorities, chain, key, check_name: name.trim().eq_ignore_ascii_case("https") })
    }

    fn client_config(&self) -> io::Result<rustls::ClientConfig> {
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
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain.read()?)
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(format!("keystore: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(&key.read()?)
            .map_err(|error| invalid(format!("keystore: {error}")))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| invalid(format!("keystore: {error}")))
    }

    fn roots(&self) -> io::Result<RootCertStore> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let pem = match &self.authorities {
            Some(pem) => pem.read()?,
            None => {
                let system = SYSTEM_AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok());
                system.ok_or_else(|| {
                    invalid("no ssl.truststore.location, and the system trusts nobody".into())
                })?
            }
        };
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&pem) {
            let added = authority
                .map_err(|error| error.to_string())
                .and_then(|authority| roots.add(authority).map_err(|error| error.to_string()));
            // One that the system has and nobody can read is no reason to trust none.
            if let (Err(error), Some(_)) = (added, &self.authorities) {
                return Err(invalid(format!("truststore: {error}")));
            }
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
