//! TLS: who gets in, under which name, and what a reload changes.

use std::path::PathBuf;
use std::sync::Arc;

use mqtt::tls::{self, TlsFiles};
use mqtt::{Access, Authorizer, ListenerConfig, MqttConfig, Principal};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

use crate::harness::*;

pub fn certificate_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certs").join(name)
}

pub fn tls_listener() -> ListenerConfig {
    let mut listener = ListenerConfig::new(([127, 0, 0, 1], 0).into());
    listener.tls = Some(TlsFiles {
        certificate: certificate_file("server.pem"),
        key: certificate_file("server.key"),
        ca_file: Some(certificate_file("ca.pem")),
        ..TlsFiles::default()
    });
    listener
}

fn mutual(listener: &mut ListenerConfig) -> &mut TlsFiles {
    let tls = listener.tls.as_mut().unwrap();
    tls.require_certificate = true;
    tls
}

fn client_config(identity: Option<&str>, roots: &str) -> ClientConfig {
    let provider = tls::provider(&[]).unwrap();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(tls::versions(false))
        .unwrap()
        .with_root_certificates(tls::roots(Some(&certificate_file(roots)), None).unwrap());
    match identity {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = tls::certificates("--cert", &certificate_file(&format!("{name}.pem"))).unwrap();
            let key = tls::private_key("--key", &certificate_file(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// A TLS connection; in TLS 1.3 a client may believe in it before the server has refused its certificate.
pub async fn dial(broker: &Broker, identity: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
    dial_with(broker, client_config(identity, "ca.pem")).await
}

async fn dial_with(broker: &Broker, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(broker.address).await?;
    let name = "localhost".try_into().unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn start(listener: ListenerConfig) -> Broker {
    Broker::with(MqttConfig { listeners: vec![listener], ..config() }, Arc::default()).await
}

/// Whether a client with this certificate gets a CONNACK that lets it in.
async fn gets_in(broker: &Broker, identity: Option<&str>) -> bool {
    let Ok(stream) = dial(broker, identity).await else { return false };
    let connack = Client::on(Box::new(stream), V5).enter(clean(V5, "c")).await;
    connack.is_some_and(|c| c.reason.as_u8() == 0)
}

#[tokio::test]
async fn messages_of_any_size_go_through_tls() {
    let broker = start(tls_listener()).await;
    let mut client = Client::on(Box::new(dial(&broker, None).await.unwrap()), V311);
    assert_eq!(client.enter(clean(V311, "c")).await.unwrap().reason.as_u8(), 0);
    client.subscribe("a/#", 0).await;
    for length in [0, 1, 16_383, 16_384, 16_385, 300_000, 2_000_000] {
        let payload = "x".repeat(length);
        client.publish("a/b", &payload, 0).await;
        let message = client.message().await;
        assert!(message.ends_with(&format!(" {payload}")), "{length}");
    }
    client.disconnect().await;
}

#[tokio::test]
async fn a_client_that_trusts_somebody_else_does_not_stay_and_others_are_served() {
    let broker = start(tls_listener()).await;
    assert!(dial_with(&broker, client_config(None, "other-ca.pem")).await.is_err());
    // Plain MQTT, and nothing at all.
    let mut plain = broker.open(V5).await;
    plain.send(&mqtt_codec::Packet::Connect(Box::new(clean(V5, "plain")))).await;
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain.stream, &mut rest).await;
    assert_ne!(rest.first(), Some(&0x20), "a CONNACK without TLS");
    let _silent = broker.open(V5).await;
    assert!(gets_in(&broker, None).await);
}

#[tokio::test]
async fn require_certificate_lets_only_known_certificates_in() {
    let mut listener = tls_listener();
    mutual(&mut listener);
    let broker = start(listener).await;
    for (identity, expected) in
        [(Some("client"), true), (None, false), (Some("stranger"), false), (Some("revoked"), true)]
    {
        assert_eq!(gets_in(&broker, identity).await, expected, "{identity:?}");
    }
    let mut listener = tls_listener();
    mutual(&mut listener).crl_file = Some(certificate_file("crl.pem"));
    let broker = start(listener).await;
    for (identity, expected) in [(Some("client"), true), (Some("revoked"), false)] {
        assert_eq!(gets_in(&broker, identity).await, expected, "{identity:?} with a revocation list");
    }
}

/// Lets one user do everything.
#[derive(Debug)]
struct Only(&'static str);

impl Authorizer for Only {
    fn allows(&self, who: &Principal<'_>, _: Access, _: &str) -> bool {
        who.user_name == Some(self.0)
    }
}

#[tokio::test]
async fn names_come_from_certificates() {
    for (subject, name) in [(false, "device 1"), (true, "CN=device 1,O=Tests\\, Ltd,C=GB")] {
        let mut listener = tls_listener();
        mutual(&mut listener);
        (listener.use_identity_as_username, listener.use_subject_as_username) = (!subject, subject);
        listener.allow_anonymous = false;
        listener.authorizer = Some(Arc::new(Only(name)));
        let broker = start(listener).await;
        let mut client = Client::on(Box::new(dial(&broker, Some("client")).await.unwrap()), V5);
        let mut connect = clean(V5, "c");
        // What the client says itself does not count.
        connect.user_name = Some("somebody else".to_owned());
        assert_eq!(client.enter(connect).await.unwrap().reason.as_u8(), 0);
        client.subscribe("a", 1).await;
        client.publish("a", "x", 0).await;
        client.expect("publish a q0 x").await;
        let connack = Client::on(Box::new(dial(&broker, Some("nameless")).await.unwrap()), V5);
        let connack = { connack }.enter(clean(V5, "n")).await.unwrap();
        assert_eq!(connack.reason.as_u8(), if subject { 0 } else { 0x86 });
    }
}

#[tokio::test]
async fn a_reload_changes_certificates_for_new_connections_and_leaves_old_ones() {
    let mut listener = tls_listener();
    let broker = start(listener.clone()).await;
    let peer = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let first = dial(&broker, None).await.unwrap();
    let before = peer(&first);
    let mut client = Client::on(Box::new(first), V5);
    client.enter(clean(V5, "c")).await.unwrap();
    let tls = listener.tls.as_mut().unwrap();
    tls.certificate = certificate_file("server2.pem");
    assert!(broker.handle.reload(&[listener.clone()]).await.is_err(), "a key that does not fit");
    assert_eq!(peer(&dial(&broker, None).await.unwrap()), before);
    listener.tls.as_mut().unwrap().key = certificate_file("server2.key");
    broker.handle.reload(&[listener]).await.unwrap();
    assert_ne!(peer(&dial(&broker, None).await.unwrap()), before);
    assert_eq!(client.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn wrong_files_are_named() {
    let fails = |change: fn(&mut TlsFiles)| {
        let mut files = tls_listener().tls.unwrap();
        change(&mut files);
        files.load().map(|_| ()).unwrap_err().to_string()
    };
    assert!(
        fails(|f| f.certificate = "/nonexistent".into()).starts_with("certfile /nonexistent: cannot be read")
    );
    assert!(fails(|f| f.key = f.certificate.clone()).starts_with("keyfile "));
    assert!(fails(|f| f.certificate = f.key.clone()).contains("holds no certificate"));
    assert!(fails(|f| f.key = certificate_file("client.key")).contains("does not fit"));
    assert!(fails(|f| f.ciphers = vec!["RC4-MD5".to_owned()]).contains("none of them is supported"));
    let no_roots = fails(|f| (f.require_certificate, f.ca_file) = (true, None));
    assert_eq!(no_roots, "require_certificate needs cafile or capath");
    let bad_list = fails(|f| {
        (f.require_certificate, f.crl_file) = (true, Some(f.certificate.clone()));
    });
    assert!(bad_list.contains("holds no revocation list"), "{bad_list}");
}

#[tokio::test]
async fn a_chain_that_certfile_leaves_out_is_taken_from_cafile() {
    let mut listener = tls_listener();
    let tls = listener.tls.as_mut().unwrap();
    (tls.certificate, tls.key) = (certificate_file("chained.pem"), certificate_file("chained.key"));
    let without = start(listener.clone()).await;
    assert!(!gets_in(&without, None).await, "nobody knows the authority between");
    listener.tls.as_mut().unwrap().ca_file = Some(certificate_file("all-ca.pem"));
    let with = start(listener).await;
    assert!(gets_in(&with, None).await);
    let mut stream = dial(&with, None).await.unwrap();
    let sent = stream.get_mut().1.peer_certificates().unwrap().len();
    assert_eq!(sent, 2, "the root itself is not sent");
}
