//! TLS of the tools: from `--cafile`, `--cert` and the like to a handshake.

use std::path::Path;
use std::sync::Arc;

use mqtt::tls;
use rustls::ClientConfig;

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
        let mut roots =
            tls::roots(path(&self.ca_file).as_deref(), path(&self.ca_path).as_deref()).map_err(failed)?;
        if self.os_certificates {
            let file = OS_CERTIFICATES.iter().map(Path::new).find(|p| p.is_file());
            let found =
                file.map(|p| tls::certificates("--tls-use-os-certs", p)).transpose().map_err(failed)?;
            roots.add_parsable_certificates(found.unwrap_or_default());
        }
        let identity = self.certificate.as_deref().map(Path::new).zip(self.key.as_deref().map(Path::new));
        let config = tls::client_config(roots, identity, self.insecure, self.only_tls_1_3, &self.ciphers);
        let mut config = config.map_err(failed)?;
        config.alpn_protocols.extend(self.alpn.as_ref().map(|p| p.clone().into_bytes()));
        Ok(Arc::new(config))
    }
}
