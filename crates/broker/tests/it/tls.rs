//! TLS listeners: certificates of both sides, reload, formats that are refused by name.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use client::security::store;
use kafka_codec::messages::MetadataRequest;
use kafka_codec::wire::Reader;
use kafka_codec::{Message as _, frame};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::harness::{PATIENCE, TestBroker};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Key and certificate of a name, in one text.
    fn issue(&self, name: &str) -> String {
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Firm");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }
}

async fn connect(
    address: SocketAddr,
    roots: &str,
    identity: Option<&str>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.unwrap()).unwrap();
    }
    connect_trusting(address, store, identity).await
}

async fn connect_trusting(
    address: SocketAddr,
    store: RootCertStore,
    identity: Option<&str>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap())
                .unwrap()
        }
    };
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// Asks for metadata; answers whether there was an answer.
async fn asks(stream: &mut TlsStream<TcpStream>) -> bool {
    let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    let asking = async {
        stream.write_all(&frame::request(&request, 12, 1, Some("t")).unwrap()).await.ok()?;
        stream.flush().await.ok()?;
        let len = stream.read_i32().await.ok()?;
        let mut body = vec![0; usize::try_from(len).unwrap()];
        stream.read_exact(&mut body).await.ok()?;
        let body = bytes::Bytes::from(body);
        let mut reader = Reader::shared(&body);
        frame::decode_response_header(&mut reader, kafka_codec::ApiKey::Metadata, 12).ok()?;
        kafka_codec::messages::MetadataResponse::decode(&mut reader, 12)
            .ok()
            .map(|answer| answer.brokers.len())
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap() == Some(1)
}

fn path(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served_and_new_certificates_are_read() {
    let files = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let keystore = path(files.path(), "broker.pem", &old.issue("broker"));
    let broker = TestBroker::start(&[
        ("listeners", "SSL://127.0.0.1:0"),
        ("ssl.keystore.location", &keystore),
        ("ssl.keystore.type", "PEM"),
    ])
    .await;
    let mut stream = connect(broker.address(), &old.pem(), None).await.unwrap();
    assert!(asks(&mut stream).await);
    assert!(connect(broker.address(), &new.pem(), None).await.is_err());
    // Half a change leaves what was there; a whole one is taken.
    std::fs::write(&keystore, "-----BEGIN nonsense").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(asks(&mut connect(broker.address(), &old.pem(), None).await.unwrap()).await);
    std::fs::write(&keystore, new.issue("broker")).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(asks(&mut connect(broker.address(), &new.pem(), None).await.unwrap()).await);
    assert!(asks(&mut stream).await, "connections that are there stay");
}

#[tokio::test]
async fn certificates_of_clients_name_them() {
    let files = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let broker = TestBroker::start(&[
        ("listeners", "SSL://127.0.0.1:0"),
        ("ssl.keystore.location", &path(files.path(), "broker.pem", &authority.issue("broker"))),
        ("ssl.truststore.location", &path(files.path(), "ca.pem", &authority.pem())),
        ("ssl.client.auth", "required"),
        ("ssl.principal.mapping.rules", "RULE:^CN=([^,]+),O=Firm$/$1/L"),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:alice"),
    ])
    .await;
    let alice = authority.issue("Alice");
    assert!(asks(&mut connect(broker.address(), &authority.pem(), Some(&alice)).await.unwrap()).await);
    for identity in [None, Some(stranger.issue("Alice"))] {
        // The refusal comes with the handshake or, in TLS 1.3, right after it.
        if let Ok(mut stream) = connect(broker.address(), &authority.pem(), identity.as_deref()).await {
            assert!(!asks(&mut stream).await);
        }
    }
}

/// Made by Java's keytool for `localhost`; the password is `secret`.
const JAVA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/src/security/fixtures");

#[tokio::test]
async fn stores_of_keytool_and_encrypted_keys_are_read() {
    let broker = TestBroker::start(&[
        ("listeners", "SSL://127.0.0.1:0"),
        ("ssl.keystore.location", &format!("{JAVA}/java.p12")),
        ("ssl.keystore.password", "secret"),
        ("ssl.truststore.location", &format!("{JAVA}/trust.p12")),
        ("ssl.truststore.password", "secret"),
        ("ssl.client.auth", "requested"),
        ("ssl.cipher.suites", "TLS_AES_128_GCM_SHA256"),
    ])
    .await;
    let certificate =
        store::identity(&std::fs::read(format!("{JAVA}/java.p12")).unwrap(), Some("secret"), None);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.unwrap().0.remove(0)).unwrap();
    let mut stream = connect_trusting(broker.address(), roots, None).await.unwrap();
    assert!(asks(&mut stream).await);
    let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap();
    assert_eq!(suite.suite().as_str(), Some("TLS13_AES_128_GCM_SHA256"));
}

#[test]
fn stores_that_cannot_be_read_are_refused_with_the_way_out() {
    let files = tempfile::tempdir().unwrap();
    let jks = files.path().join("broker.jks");
    std::fs::write(&jks, b"\xfe\xed\xfe\xed\0\0\0\x02").unwrap();
    let (jks, p12) = (jks.to_str().unwrap().to_owned(), format!("{JAVA}/java.p12"));
    let refused = |more: &[(&str, &str)]| {
        let mut settings = vec![("log.dirs", "/nowhere"), ("listeners", "SSL://127.0.0.1:0")];
        settings.extend_from_slice(more);
        broker::BrokerConfig::from_properties(settings).unwrap_err().to_string()
    };
    let said = refused(&[("ssl.keystore.location", &jks)]);
    assert!(said.contains("ssl.keystore.location") && said.contains("keytool -importkeystore"), "{said}");
    let said = refused(&[("ssl.keystore.location", &p12), ("ssl.keystore.password", "wrong")]);
    assert!(said.contains("ssl.keystore.password"), "{said}");
    let said = refused(&[("ssl.keystore.location", "/nowhere/x.pem")]);
    assert!(said.contains("/nowhere/x.pem is not there"), "{said}");
    let said = refused(&[]);
    assert!(said.contains("TLS needs a key and a certificate"), "{said}");
    let good = [("ssl.keystore.location", p12.as_str()), ("ssl.keystore.password", "secret")];
    let said = refused(&[good[0], good[1], ("ssl.cipher.suites", "TLS_RSA_WITH_RC4_128_MD5")]);
    assert!(said.contains("TLS_RSA_WITH_RC4_128_MD5 is not spoken here"), "{said}");
}
