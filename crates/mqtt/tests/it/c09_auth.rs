//! Users and rights: who gets in, what they may do, and what a reload takes away from those who are there.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::security::scram::ScramMechanism::{self, Sha256};
use mqtt::{AclFile, Hashing, ListenerConfig, MqttConfig, PasswordFile, PasswordHash, ScramSecret};
use mqtt_codec::{Auth, Connect, Packet, Password, ProtocolVersion, ReasonCode};

use crate::harness::*;

pub fn users(names: &[(&str, &str)]) -> Arc<PasswordFile> {
    let lines = names.iter().map(|(name, password)| {
        format!("{name}:{}\n", PasswordHash::new(password.as_bytes(), Hashing::Sha512).unwrap())
    });
    Arc::new(PasswordFile::parse(&lines.collect::<String>()).0)
}

fn rights(text: &str) -> Arc<AclFile> {
    Arc::new(AclFile::parse(text).unwrap())
}

pub fn listener() -> ListenerConfig {
    ListenerConfig::new(([127, 0, 0, 1], 0).into())
}

async fn start(listener: ListenerConfig) -> Broker {
    Broker::with(MqttConfig { listeners: vec![listener], ..config() }, Arc::default()).await
}

pub fn login(version: ProtocolVersion, id: &str, user: Option<&str>, password: Option<&str>) -> Connect {
    let mut connect = clean(version, id);
    connect.user_name = user.map(str::to_owned);
    connect.password = password.map(|p| Password(Bytes::copy_from_slice(p.as_bytes())));
    connect
}

#[tokio::test]
async fn names_and_passwords_decide() {
    let closed = ListenerConfig {
        allow_anonymous: false,
        authenticator: Some(users(&[("alice", "a")])),
        ..listener()
    };
    let open = ListenerConfig { allow_anonymous: true, ..closed.clone() };
    for (rules, anonymous) in [(closed, false), (open, true)] {
        let broker = start(rules).await;
        for (user, password, accepted) in [
            (Some("alice"), Some("a"), true),
            (Some("alice"), Some("b"), false),
            (Some("alice"), Some(""), false),
            (Some("alice"), None, false),
            (Some("bob"), Some("a"), false),
            (Some(""), Some("a"), false),
            (None, None, anonymous),
        ] {
            let (_, v3) = broker.try_connect(login(V311, "c", user, password)).await;
            let (_, v5) = broker.try_connect(login(V5, "c", user, password)).await;
            let expected = if accepted { 0 } else { 0x87 };
            assert_eq!(
                (v3.reason.as_u8(), v5.reason.as_u8()),
                (expected, expected),
                "{user:?} {password:?}, anonymous: {anonymous}"
            );
        }
    }
}

#[tokio::test]
async fn rights_hold_for_publish_delivery_and_wills() {
    let acl = "topic read open/#\nuser alice\ntopic readwrite a/#\ntopic read open/#\npattern write c/%c\n";
    let broker = start(ListenerConfig { authorizer: Some(rights(acl)), ..listener() }).await;
    let mut alice = broker.connect(login(V5, "alice", Some("alice"), None)).await;
    let mut other = broker.connect(login(V5, "other", None, None)).await;
    other.subscribe("#", 1).await;
    alice.subscribe("#", 1).await;
    // Refused in version 5, thrown away in version 3, where there is no word for it.
    for (topic, reason) in [("open/x", 0x87), ("a/1", 0), ("c/alice", 0), ("c/other", 0x87)] {
        let mut packet = publish(topic, topic, 1);
        packet.packet_id = Some(alice.id());
        alice.send(&Packet::Publish(packet)).await;
        loop {
            match alice.recv().await {
                Packet::PubAck(ack) => {
                    let got = ack.reason.as_u8();
                    assert!(got == reason || reason == 0 && got == 0x10, "{topic}: {got:#x}");
                    break;
                }
                other => assert!(text(&other).starts_with("publish a/1 "), "{}", text(&other)),
            }
        }
    }
    let mut old = broker.connect(login(V311, "old", Some("alice"), None)).await;
    old.publish("open/x", "never", 1).await;
    old.publish("a/2", "yes", 1).await;
    assert_eq!(other.until_ping().await, Vec::<String>::new());
    let mut with_will = login(V5, "w", None, None);
    with_will.will = Some(will("a/will", "x", 0));
    let (_, connack) = broker.try_connect(with_will).await;
    assert_eq!(connack.reason.as_u8(), 0x87);
}

#[tokio::test]
async fn a_right_taken_away_ends_for_live_sessions_and_for_what_is_retained() {
    let before = "topic readwrite a/#\n";
    let mut rules = ListenerConfig { authorizer: Some(rights(before)), ..listener() };
    let broker = start(rules.clone()).await;
    let mut reader = broker.clean(V311, "reader").await;
    let mut writer = broker.clean(V5, "writer").await;
    reader.subscribe("a/#", 0).await;
    let mut kept = publish("a/kept", "one", 0);
    kept.retain = true;
    writer.publish_packet(kept).await;
    reader.expect("publish a/kept q0 one").await;
    rules.authorizer = Some(rights("topic write a/#\n"));
    broker.handle.reload(&[rules.clone()]).await.unwrap();
    writer.publish("a/kept", "two", 1).await;
    reader.subscribe("a/+", 0).await;
    assert_eq!(reader.until_ping().await, Vec::<String>::new());
    rules.authorizer = Some(rights("topic read a/#\n"));
    broker.handle.reload(&[rules.clone()]).await.unwrap();
    let mut refused = publish("a/kept", "three", 1);
    refused.packet_id = Some(writer.id());
    writer.send(&Packet::Publish(refused)).await;
    assert!(writer.text().await.ends_with(" 0x87"));
    // Nor is what it had retained delivered while it has no right to publish that.
    reader.subscribe("a/kept", 0).await;
    assert_eq!(reader.until_ping().await, Vec::<String>::new());
    rules.authorizer = Some(rights(before));
    broker.handle.reload(&[rules]).await.unwrap();
    reader.subscribe("a/kept", 0).await;
    reader.expect("publish a/kept q0 retain one").await;
}

#[tokio::test]
async fn what_is_retained_needs_its_publisher_s_right_as_long_as_it_is_delivered() {
    for checked in [true, false] {
        let users = "user w\ntopic readwrite a/#\ntopic write b/#\nuser r\ntopic read #\n";
        let mut rules = ListenerConfig { authorizer: Some(rights(users)), ..listener() };
        let settings = || MqttConfig { check_retain_source: checked, ..config() };
        let with = |rules: &ListenerConfig| MqttConfig { listeners: vec![rules.clone()], ..settings() };
        let broker = Broker::with(with(&rules), Arc::default()).await;
        let mut writer = broker.connect(login(V5, "w", Some("w"), None)).await;
        for topic in ["a/1", "b/1"] {
            let mut kept = publish(topic, "kept", 1);
            kept.retain = true;
            writer.publish_packet(kept).await;
        }
        // The right to a goes; after a restart on the same port too.
        rules.authorizer = Some(rights(&users.replace("topic readwrite a/#\n", "")));
        broker.handle.reload(&[rules.clone()]).await.unwrap();
        let expected = if checked { vec!["b/1"] } else { vec!["a/1", "b/1"] };
        let heard = async |broker: &Broker| {
            let mut reader = broker.connect(login(V311, "r", Some("r"), None)).await;
            reader.subscribe("#", 0).await;
            let got = reader.until_ping().await;
            got.iter().filter_map(|m| m.split(' ').nth(1)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(heard(&broker).await, expected);
        rules.address = mqtt::ListenAddress::Tcp(broker.address);
        let broker = Broker::with(with(&rules), broker.stop().await).await;
        assert_eq!(heard(&broker).await, expected);
    }
}

#[tokio::test]
async fn a_reload_ends_the_connections_of_those_who_may_not_come_in_any_more() {
    let mut rules =
        ListenerConfig { authenticator: Some(users(&[("alice", "a"), ("bob", "b")])), ..listener() };
    let broker = start(rules.clone()).await;
    let mut alice = broker.connect(login(V5, "alice", Some("alice"), Some("a"))).await;
    let mut bob = broker.connect(login(V5, "bob", Some("bob"), Some("b"))).await;
    let mut anonymous = broker.connect(login(V311, "nobody", None, None)).await;
    // Hashed anew, the same password still counts.
    rules.authenticator = Some(users(&[("alice", "a"), ("bob", "changed")]));
    broker.handle.reload(&[rules.clone()]).await.unwrap();
    bob.expect("disconnect 0x98").await;
    bob.expect("closed").await;
    assert_eq!(alice.until_ping().await, Vec::<String>::new());
    assert_eq!(anonymous.until_ping().await, Vec::<String>::new());
    rules.allow_anonymous = false;
    broker.handle.reload(&[rules]).await.unwrap();
    anonymous.expect("closed").await;
    assert_eq!(alice.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn anonymous_sessions_end_with_their_connection_where_the_limit_says_so() {
    let mut config = config();
    config.limits.anonymous_sessions = false;
    config.listeners.push(listener());
    let broker = Broker::with(config, Arc::default()).await;
    for (user, stays) in [(None, false), (Some("alice"), true)] {
        let id = format!("s-{stays}");
        let mut connect = persistent(V5, &id);
        connect.user_name = user.map(str::to_owned);
        let (client, connack) = broker.try_connect(connect.clone()).await;
        assert_eq!(connack.properties.session_expiry_interval, (!stays).then_some(0));
        client.disconnect().await;
        let (_, connack) = broker.try_connect(connect).await;
        assert_eq!(connack.session_present, stays);
    }
}

/// A client's side of SCRAM: the first message, and the final one for what the server says.
pub struct Scram {
    pub mechanism: ScramMechanism,
    pub user: &'static str,
    pub password: &'static str,
}

impl Scram {
    pub fn first(&self) -> String {
        format!("n,,n={},r=nonce", self.user)
    }

    pub fn last(&self, server_first: &str) -> String {
        let mut fields = server_first.split(',').filter_map(|f| f.split_once('='));
        let mut field = |name: &str| fields.find(|(n, _)| *n == name).map(|(_, v)| v.to_owned()).unwrap();
        let (nonce, salt, rounds) = (field("r"), field("s"), field("i"));
        assert!(nonce.starts_with("nonce") && nonce.len() > 15);
        let salt = STANDARD.decode(salt).unwrap();
        let (password, rounds) = (self.password.as_bytes(), rounds.parse().unwrap());
        let secret = ScramSecret::new(self.mechanism, password, salt.clone(), rounds);
        let hmac = match self.mechanism {
            ScramMechanism::Sha256 => ring::hmac::HMAC_SHA256,
            ScramMechanism::Sha512 => ring::hmac::HMAC_SHA512,
        };
        let salted = self.mechanism.salted_password(password, &salt, rounds);
        let client_key = ring::hmac::sign(&ring::hmac::Key::new(hmac, &salted), b"Client Key");
        let without_proof = format!("c=biws,r={nonce}");
        let bare = &self.first()[3..];
        let signature = secret.client_signature(format!("{bare},{server_first},{without_proof}").as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature).map(|(a, b)| a ^ b).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }
}

fn auth(reason: ReasonCode, data: String) -> Packet {
    auth_with("SCRAM-SHA-256", reason, data)
}

pub fn auth_with(method: &str, reason: ReasonCode, data: String) -> Packet {
    let mut auth = Auth { reason, ..Auth::default() };
    auth.properties.authentication_method = Some(method.to_owned());
    auth.properties.authentication_data = Some(data.into());
    Packet::Auth(auth)
}

pub fn scram_connect(scram: &Scram, method: &str) -> Connect {
    let mut connect = clean(V5, scram.user);
    connect.properties.authentication_method = Some(method.to_owned());
    connect.properties.authentication_data = Some(scram.first().into());
    connect
}

fn data(packet: Packet) -> String {
    let data = match packet {
        Packet::Auth(a) => a.properties.authentication_data,
        Packet::ConnAck(c) => {
            assert_eq!(c.reason, ReasonCode::Success);
            assert_eq!(c.properties.authentication_method.as_deref(), Some("SCRAM-SHA-256"));
            c.properties.authentication_data
        }
        other => panic!("{other:?}"),
    };
    String::from_utf8(data.unwrap().to_vec()).unwrap()
}

async fn scram_broker() -> Broker {
    let hash =
        PasswordHash::new(b"pencil", Hashing::Scram(std::num::NonZeroU32::new(4096).unwrap())).unwrap();
    let (file, problems) = PasswordFile::parse(&format!("user:{hash}\n"));
    assert!(problems.is_empty());
    start(ListenerConfig {
        allow_anonymous: false,
        authenticator: Some(Arc::new(file)),
        authorizer: Some(rights("user user\ntopic a\n")),
        ..listener()
    })
    .await
}

#[tokio::test]
async fn scram_proves_a_password_at_connect_and_again_later() {
    let broker = scram_broker().await;
    let scram = Scram { mechanism: Sha256, user: "user", password: "pencil" };
    let mut client = broker.open(V5).await;
    client.send(&Packet::Connect(Box::new(scram_connect(&scram, "SCRAM-SHA-256")))).await;
    let first = data(client.recv().await);
    client.send(&auth(ReasonCode::ContinueAuthentication, scram.last(&first))).await;
    assert!(data(client.recv().await).starts_with("v="));
    client.subscribe("a", 0).await;
    client.publish("a", "as the user", 0).await;
    client.expect("publish a q0 as the user").await;
    client.send(&auth(ReasonCode::ReAuthenticate, scram.first())).await;
    let first = data(client.recv().await);
    // Messages go on meanwhile.
    client.publish("a", "meanwhile", 0).await;
    client.expect("publish a q0 meanwhile").await;
    client.send(&auth(ReasonCode::ContinueAuthentication, scram.last(&first))).await;
    let Packet::Auth(done) = client.recv().await else { panic!("no AUTH") };
    assert_eq!(done.reason, ReasonCode::Success);
    // The same user may send the password as well.
    broker.connect(login(V5, "plain", Some("user"), Some("pencil"))).await;
}

#[tokio::test]
async fn scram_refuses_wrong_proofs_methods_and_turns() {
    let broker = scram_broker().await;
    for (user, password) in [("user", "crayon"), ("nobody", "pencil")] {
        let scram = Scram { mechanism: Sha256, user, password };
        let mut client = broker.open(V5).await;
        client.send(&Packet::Connect(Box::new(scram_connect(&scram, "SCRAM-SHA-256")))).await;
        let first = data(client.recv().await);
        client.send(&auth(ReasonCode::ContinueAuthentication, scram.last(&first))).await;
        let Packet::ConnAck(connack) = client.recv().await else { panic!("no CONNACK") };
        assert_eq!(connack.reason, ReasonCode::NotAuthorized, "{user}");
    }
    let good = Scram { mechanism: Sha256, user: "user", password: "pencil" };
    let (_, connack) = broker.try_connect(scram_connect(&good, "PLAIN")).await;
    assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
    // Something else before CONNACK.
    let mut client = broker.open(V5).await;
    client.send(&Packet::Connect(Box::new(scram_connect(&good, "SCRAM-SHA-256")))).await;
    data(client.recv().await);
    client.send(&Packet::PingReq).await;
    let Packet::ConnAck(connack) = client.recv().await else { panic!("no CONNACK") };
    assert_eq!(connack.reason, ReasonCode::ProtocolError);
    // AUTH on a connection that had no method, and a final message that nobody asked for.
    let mut plain = broker.connect(login(V5, "plain", Some("user"), Some("pencil"))).await;
    plain.send(&auth(ReasonCode::ReAuthenticate, good.first())).await;
    plain.expect("disconnect 0x82").await;
    let mut client = broker.open(V5).await;
    client.send(&Packet::Connect(Box::new(scram_connect(&good, "SCRAM-SHA-256")))).await;
    let first = data(client.recv().await);
    client.send(&auth(ReasonCode::ContinueAuthentication, good.last(&first))).await;
    data(client.recv().await);
    client.send(&auth(ReasonCode::ContinueAuthentication, good.last(&first))).await;
    client.expect("disconnect 0x82").await;
}
