//! TLS of the tools: from `--cafile`, `--cert` and the like to a handshake.

use std::path::Path;
use std::sync::Arc;

use mqtt::tls;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::failure::Failure;

/// Where distributions keep the certificates of the operating system.
const OS_CERTIFICATES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What the options say about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// `--cafile`
    pub ca_file: Option<String>,
    /// `--capath`
    pub ca_path: Option<String>,
    /// `--tls-use-os-certs`
    pub os_certificates: bool,
    /// `--cert`
    pub certificate: Option<String>,
    /// `--key`
    pub key: Option<String>,
    /// `--insecure`
    pub insecure: bool,
    /// `--tls-version tlsv1.3`
    pub only_tls_1_3: bool,
    /// `--tls-alpn`
    pub alpn: Option<String>,
    /// `--ciphers`
    pub ciphers: Vec<String>,
}

impl TlsOptions {
    /// Whether there is TLS.
    pub fn is_on(&self) -> bool {
        self.ca_file.is_some() || self.ca_path.is_some() || self.os_certificates
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`Failure::Tls`]
    pub fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let failed = |error: tls::TlsError| Failure::Tls(error.to_string());
        let path = |text: &Option<String>| text.as_deref().map(Path::new).map(Path::to_path_buf);
        let provider = tls::provider(&self.ciphers).map_err(failed)?;
        let mut roots =
            tls::roots(path(&self.ca_file).as_deref(), path(&self.ca_path).as_deref()).map_err(failed)?;
        if self.os_certificates {
            let file = OS_CERTIFICATES.iter().map(Path::new).find(|p| p.is_file());
            let found =
                file.map(|p| tls::certificates("--tls-use-os-certs", p)).transpose().map_err(failed)?;
            roots.add_parsable_certificates(found.unwrap_or_default());
        }
        let wrong = |error: Error| Failure::Tls(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(tls::versions(self.only_tls_1_3))
            .map_err(wrong)?;
        let builder = if self.insecure {
            let verifier = AnyName::new(roots, provider).map_err(Failure::Tls)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            builder.with_root_certificates(roots)
        };
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = tls::certificates("--cert", Path::new(certificate)).map_err(failed)?;
                let key = tls::private_key("--key", Path::new(key)).map_err(failed)?;
                builder.with_client_auth_cert(chain, key).map_err(wrong)?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols.extend(self.alpn.as_ref().map(|p| p.clone().into_bytes()));
        Ok(Arc::new(config))
    }
}

/// `--insecure`: the certificate must come from a known root, whatever host it names.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl AnyName {
    fn new(roots: RootCertStore, provider: Arc<rustls::crypto::CryptoProvider>) -> Result<Self, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(Self).map_err(|e| e.to_string())
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The chain is looked at first: only the name is wrong.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
