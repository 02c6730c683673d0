//! Keys and certificates as Kafka's configurations name them: PEM, with keys encrypted or not, and PKCS12.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{Pkcs12Archive, Pkcs12ImportPolicy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::ec_key;

/// A certificate chain and its private key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// What Java's own format begins with.
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

/// Reads the certificate chain and the private key of a keystore: a PEM file with both, or PKCS12.
///
/// # Errors
/// What is wrong with it, and for a format that is not read, what to do.
pub fn identity(
    bytes: &[u8],
    store_password: Option<&str>,
    key_password: Option<&str>,
) -> Result<Identity, String> {
    if is_pem(bytes) {
        return Ok((certificates(bytes)?, private_key(bytes, key_password)?));
    }
    refuse_jks(bytes)?;
    let password = store_password.or(key_password).unwrap_or_default();
    let store = p12_keystore::KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Strict)
        .map_err(|error| pkcs12_refused(&error, "ssl.keystore.password"))?;
    let (_, chain) = store.private_key_chain().ok_or("there is no private key with its certificate in it")?;
    let certificates: Vec<_> =
        chain.certs().iter().map(|one| CertificateDer::from(one.as_der().to_vec())).collect();
    let key = chain.key().as_der();
    let whole = certificates.first().and_then(|certificate| ec_key::with_public_key(key, certificate));
    let key = PrivatePkcs8KeyDer::from(whole.unwrap_or_else(|| key.to_vec()));
    Ok((certificates, key.into()))
}

/// Reads the certificates of a truststore: PEM or PKCS12.
///
/// # Errors
/// What is wrong with it, and for a format that is not read, what to do.
pub fn authorities(bytes: &[u8], password: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    if is_pem(bytes) {
        return certificates(bytes);
    }
    refuse_jks(bytes)?;
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.unwrap_or_default())
        .map_err(|error| pkcs12_refused(&error, "ssl.truststore.password"))?;
    let all: Vec<_> =
        archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    if all.is_empty() { Err("there is no certificate in it".into()) } else { Ok(all) }
}

/// Reads all certificates of a PEM text.
///
/// # Errors
/// When there is none, or one that cannot be read.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("certificate: {error}"))?;
    if all.is_empty() { Err("there is no certificate in it".into()) } else { Ok(all) }
}

/// Reads the private key of a PEM text; `password` opens an encrypted one (PKCS #8).
///
/// # Errors
/// When there is none, it cannot be read, or the password does not open it.
pub fn private_key(pem: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::str::from_utf8(pem).unwrap_or_default();
    let encrypted = text.split_once(ENCRYPTED_BEGIN).and_then(|(_, rest)| rest.split_once(ENCRYPTED_END));
    let Some((body, _)) = encrypted else {
        return PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("private key: {error}"));
    };
    let password =
        password.ok_or("private key: it is encrypted, and ssl.key.password does not say with what")?;
    let body: String = body.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|error| format!("private key: {error}"))?;
    let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_slice())
        .map_err(|error| format!("private key: {error}"))?;
    let key = info.decrypt(password).map_err(|_| {
        "private key: ssl.key.password does not open it (or it is encrypted in a way not known here: openssl pkcs8 \
         -topk8 writes one that is)"
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn refuse_jks(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(&JKS_MAGIC) {
        return Err("it is a JKS store, which Java alone reads; convert it: keytool -importkeystore -srckeystore OLD \
                    -destkeystore NEW -deststoretype PKCS12, and name NEW with type PKCS12"
            .into());
    }
    Ok(())
}

fn pkcs12_refused(error: &p12_keystore::error::Error, key: &str) -> String {
    format!("neither PEM nor PKCS12 that {key} opens: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -passout pass:secret`
    const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjdZc7C1DfBbgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEED4v74mNaqjtauM57dOj4hUEQKVn
xW6e4uYdwSYeHIJ4PYA6YAWfej2tbum/XnJPAVlIerPOfjzlQEasMS6kWtKzqcPZ
3E98ofisk6Q3DQP9MqI=
-----END ENCRYPTED PRIVATE KEY-----
";

    #[test]
    fn an_encrypted_key_needs_its_password() {
        assert!(matches!(private_key(ENCRYPTED.as_bytes(), Some("secret")), Ok(PrivateKeyDer::Pkcs8(_))));
        for (password, said) in [(Some("wrong"), "does not open it"), (None, "ssl.key.password does not say")]
        {
            let error = private_key(ENCRYPTED.as_bytes(), password).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    /// Made by Java's keytool: a key with its certificate, and a truststore of that certificate.
    const KEYSTORE: &[u8] = include_bytes!("fixtures/java.p12");
    const TRUSTSTORE: &[u8] = include_bytes!("fixtures/trust.p12");

    #[test]
    fn stores_of_keytool_are_read() {
        let (chain, key) = identity(KEYSTORE, Some("secret"), None).unwrap();
        assert_eq!(chain.len(), 1);
        let provider = rustls::crypto::ring::default_provider();
        assert!(provider.key_provider.load_private_key(key).is_ok(), "a key that can sign");
        assert_eq!(authorities(TRUSTSTORE, Some("secret")).unwrap(), chain);
        assert!(identity(KEYSTORE, Some("wrong"), None).unwrap_err().contains("ssl.keystore.password"));
        assert!(authorities(TRUSTSTORE, Some("wrong")).unwrap_err().contains("ssl.truststore.password"));
    }

    #[test]
    fn java_stores_are_refused_with_the_way_out() {
        for read in [
            identity(b"\xfe\xed\xfe\xed\0\0\0\x02", Some("x"), None).map(|_| ()),
            authorities(b"\xfe\xed\xfe\xed\0\0\0\x02", Some("x")).map(|_| ()),
        ] {
            let error = read.unwrap_err();
            assert!(error.contains("keytool -importkeystore"), "{error}");
        }
        assert!(identity(b"0\x82nonsense", Some("x"), None).unwrap_err().contains("ssl.keystore.password"));
    }
}
