//! Users and rights of the log (`kafka-configs`, `kafka-acls`): they hold for MQTT as they do for Kafka, at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use client::door::AclOperation::{Create, Describe, Read, Write};
use client::door::CLUSTER_NAME;
use client::security::scram::ScramMechanism;
use mqtt::testing::{MemoryAccess, MemoryDoor};
use mqtt::{AclFile, ListenerConfig, MqttConfig, RouteConfig, RouteKey, ScramSecret};
use mqtt_codec::{Packet, PacketId, QoS, ReasonCode, Subscribe, Subscription};

use crate::c09_auth::{Scram, auth_with, listener, login, scram_connect, users};
use crate::harness::*;

fn secret(mechanism: ScramMechanism, password: &str) -> ScramSecret {
    let rounds = NonZeroU32::new(4096).unwrap();
    ScramSecret::new(mechanism, password.as_bytes(), b"some salt".to_vec(), rounds)
}

/// A broker whose log knows alice (by SHA-256) and bob (by SHA-512), neither with a right.
async fn start_with(mut config: MqttConfig, rules: ListenerConfig) -> (Broker, Arc<MemoryAccess>) {
    let access = Arc::new(MemoryAccess::default());
    access.set_user("alice", secret(ScramMechanism::Sha256, "a"));
    access.set_user("bob", secret(ScramMechanism::Sha512, "b"));
    config.listeners.push(rules);
    let door = MemoryDoor::open(Arc::default()).with_access(access.clone());
    (Broker::on(config, door).await, access)
}

async fn start(rules: ListenerConfig) -> (Broker, Arc<MemoryAccess>) {
    start_with(config(), rules).await
}

/// What PUBACK says.
async fn published(client: &mut Client, topic: &str, payload: &str) -> u8 {
    let mut packet = publish(topic, payload, 1);
    packet.packet_id = Some(client.id());
    client.send(&Packet::Publish(packet)).await;
    let Packet::PubAck(ack) = client.recv().await else { panic!("no PUBACK") };
    // Nobody subscribes: accepted all the same.
    if ack.reason == ReasonCode::NoMatchingSubscribers { 0 } else { ack.reason.as_u8() }
}

async fn subscribed(client: &mut Client, filter: &str) -> u8 {
    let packet = Subscribe::new(PacketId::MIN, vec![Subscription::new(filter, QoS::AtLeastOnce)]);
    client.send(&Packet::Subscribe(packet)).await;
    let Packet::SubAck(ack) = client.recv().await else { panic!("no SUBACK") };
    ack.reasons[0].as_u8()
}

#[tokio::test]
async fn users_of_the_log_come_in_by_their_password() {
    let closed = ListenerConfig { allow_anonymous: false, ..listener() };
    let with_file = ListenerConfig { authenticator: Some(users(&[("bob", "file")])), ..closed.clone() };
    let open = ListenerConfig { allow_anonymous: true, ..closed.clone() };
    // (user, password) and whether it is let in by: the closed listener, with a file, an open one.
    for (user, password, expected) in [
        (Some("alice"), Some("a"), [true, true, true]),
        (Some("alice"), Some("b"), [false, false, false]),
        (Some("alice"), Some(""), [false, false, false]),
        (Some("alice"), None, [false, false, false]),
        (Some("bob"), Some("b"), [true, false, true]),
        (Some("bob"), Some("file"), [false, true, false]),
        (Some("carol"), Some("c"), [false, false, true]),
        (None, None, [false, false, true]),
    ] {
        for (rules, accepted) in [&closed, &with_file, &open].into_iter().zip(expected) {
            let (broker, _) = start(rules.clone()).await;
            for version in [V311, V5] {
                let (_, connack) = broker.try_connect(login(version, "c", user, password)).await;
                let got = connack.reason.as_u8();
                assert_eq!(got, if accepted { 0 } else { 0x87 }, "{user:?} {password:?} {rules:?}");
            }
        }
    }
}

#[tokio::test]
async fn users_of_the_log_prove_themselves_with_either_mechanism() {
    let (broker, _) = start(ListenerConfig { allow_anonymous: false, ..listener() }).await;
    for (mechanism, user, password, accepted) in [
        (ScramMechanism::Sha256, "alice", "a", true),
        (ScramMechanism::Sha512, "bob", "b", true),
        (ScramMechanism::Sha512, "bob", "a", false),
        // Known by the other mechanism only.
        (ScramMechanism::Sha512, "alice", "a", false),
    ] {
        let scram = Scram { mechanism, user, password };
        let mut client = broker.open(V5).await;
        client.send(&Packet::Connect(Box::new(scram_connect(&scram, mechanism.name())))).await;
        let Packet::Auth(first) = client.recv().await else { panic!("no AUTH") };
        let first = String::from_utf8(first.properties.authentication_data.unwrap().to_vec()).unwrap();
        let last = auth_with(mechanism.name(), ReasonCode::ContinueAuthentication, scram.last(&first));
        client.send(&last).await;
        let Packet::ConnAck(connack) = client.recv().await else { panic!("no CONNACK") };
        let expected = if accepted { ReasonCode::Success } else { ReasonCode::NotAuthorized };
        assert_eq!(connack.reason, expected, "{user} {mechanism:?}");
    }
}

#[tokio::test]
async fn a_user_taken_away_is_disconnected_and_so_is_one_with_a_new_password() {
    let rules = ListenerConfig { authenticator: Some(users(&[("file", "f")])), ..listener() };
    let (broker, access) = start(rules).await;
    let mut alice = broker.connect(login(V5, "alice", Some("alice"), Some("a"))).await;
    let mut bob = broker.connect(login(V311, "bob", Some("bob"), Some("b"))).await;
    let mut file = broker.connect(login(V5, "file", Some("file"), Some("f"))).await;
    let mut anonymous = broker.connect(login(V5, "none", None, None)).await;
    // Salted anew, the same password still counts.
    access.set_user("alice", ScramSecret { ..secret(ScramMechanism::Sha256, "a") });
    access.remove_user("bob");
    bob.expect("closed").await;
    assert_eq!(alice.until_ping().await, Vec::<String>::new());
    access.set_user("alice", secret(ScramMechanism::Sha256, "changed"));
    alice.expect("disconnect 0x98").await;
    for client in [&mut file, &mut anonymous] {
        assert_eq!(client.until_ping().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn publishing_needs_write_and_making_a_topic_create() {
    let mut config = config();
    config.routes.push(RouteConfig {
        filter: "plant/#".to_owned(),
        topic: "presses".to_owned(),
        key: RouteKey::Topic,
        partitions: None,
        ack: None,
        retained: false,
    });
    let (broker, access) = start_with(config, listener()).await;
    let mut alice = broker.connect(login(V5, "alice", Some("alice"), Some("a"))).await;
    assert_eq!(published(&mut alice, "sensors/1", "1").await, 0x87);
    access.give("alice", Write, "sensors");
    assert_eq!(published(&mut alice, "sensors/1", "2").await, 0x87);
    assert!(!broker.door.store().topic_names().contains(&"sensors".to_owned()));
    access.give("alice", Create, "sensors");
    assert_eq!(published(&mut alice, "sensors/1", "3").await, 0);
    access.take("alice", Create, "sensors");
    assert_eq!(published(&mut alice, "sensors/1", "4").await, 0);
    access.take("alice", Write, "sensors");
    assert_eq!(published(&mut alice, "sensors/1", "5").await, 0x87);
    // Topics of explicit routes are the operator's wish.
    access.give("alice", Write, "plant");
    assert_eq!(published(&mut alice, "plant/1", "6").await, 0x87);
    access.give("alice", Write, "presses");
    assert_eq!(published(&mut alice, "plant/1", "7").await, 0);
    let values: Vec<_> = broker.door.store().all_records("sensors").into_iter().map(|r| r.value).collect();
    assert_eq!(values, [Some("3".into()), Some("4".into())]);
}

#[tokio::test]
async fn reading_needs_read_when_subscribing_and_for_every_message() {
    let (broker, access) = start(listener()).await;
    for (operation, name) in [(Write, "a"), (Write, "b"), (Create, CLUSTER_NAME)] {
        access.give("alice", operation, name);
    }
    let mut alice = broker.connect(login(V5, "alice", Some("alice"), Some("a"))).await;
    let mut bob = broker.connect(login(V5, "bob", Some("bob"), Some("b"))).await;
    let mut old = broker.connect(login(V311, "old", Some("bob"), Some("b"))).await;
    assert_eq!(subscribed(&mut bob, "a/#").await, 0x87);
    assert_eq!(subscribed(&mut old, "a/#").await, 0x80);
    access.give("bob", Read, "a");
    assert_eq!(subscribed(&mut bob, "a/#").await, 1);
    // Everything that may be read, as a pattern subscription in Kafka.
    assert_eq!(subscribed(&mut old, "#").await, 1);
    assert_eq!(published(&mut alice, "a/1", "one").await, 0);
    assert_eq!(published(&mut alice, "b/1", "two").await, 0);
    assert_eq!(bob.message().await, "publish a/1 q1 #1 one");
    assert_eq!(old.message().await, "publish a/1 q1 #1 one");
    access.take("bob", Read, "a");
    access.give("bob", Read, "b");
    assert_eq!(published(&mut alice, "a/1", "three").await, 0);
    assert_eq!(published(&mut alice, "b/1", "four").await, 0);
    assert_eq!(old.message().await, "publish b/1 q1 #2 four");
    assert_eq!(bob.until_ping().await, Vec::<String>::new());
    // Share groups are consumer groups.
    assert_eq!(subscribed(&mut bob, "$share/g/b/#").await, 0x87);
    access.give("bob", Read, "$share/g/b/#");
    assert_eq!(subscribed(&mut bob, "$share/g/b/#").await, 1);
    assert_eq!(subscribed(&mut bob, "$SYS/#").await, 0x87);
    access.give("bob", Describe, CLUSTER_NAME);
    assert_eq!(subscribed(&mut bob, "$SYS/#").await, 1);
}

#[tokio::test]
async fn what_is_retained_needs_read_of_the_topic_it_is_routed_to() {
    let (broker, access) = start(listener()).await;
    for (operation, name) in [(Write, "a"), (Create, CLUSTER_NAME)] {
        access.give("alice", operation, name);
    }
    access.give("bob", Read, "b");
    let mut alice = broker.connect(login(V5, "alice", Some("alice"), Some("a"))).await;
    let mut bob = broker.connect(login(V5, "bob", Some("bob"), Some("b"))).await;
    let mut kept = publish("a/1", "kept", 1);
    kept.retain = true;
    alice.publish_packet(kept).await;
    bob.subscribe("#", 0).await;
    assert_eq!(bob.until_ping().await, Vec::<String>::new());
    access.give("bob", Read, "a");
    bob.subscribe("#", 0).await;
    bob.expect("publish a/1 q0 retain kept").await;
}

#[tokio::test]
async fn a_will_needs_its_right_at_connect_and_when_it_is_due() {
    let (broker, access) = start(listener()).await;
    for (user, operation, name) in
        [("alice", Write, "w"), ("alice", Create, CLUSTER_NAME), ("bob", Read, "w")]
    {
        access.give(user, operation, name);
    }
    let mut bob = broker.connect(login(V5, "bob", Some("bob"), Some("b"))).await;
    assert_eq!(subscribed(&mut bob, "w/#").await, 1);
    let with_will = |user: &str, password: &str, topic: &str| {
        let mut connect = login(V5, topic, Some(user), Some(password));
        connect.will = Some(will(topic, topic, 1));
        connect
    };
    let (_, refused) = broker.try_connect(with_will("bob", "b", "w/bob")).await;
    assert_eq!(refused.reason, ReasonCode::NotAuthorized);
    for (topic, due) in [("w/1", true), ("w/2", false), ("w/3", true)] {
        access.give("alice", Write, "w");
        let client = broker.connect(with_will("alice", "a", topic)).await;
        if !due {
            access.take("alice", Write, "w");
        }
        drop(client);
        eventually("the client is gone", || broker.handle.connections() == 1).await;
        if due {
            assert!(bob.message().await.starts_with(&format!("publish {topic} ")));
        }
    }
}

#[tokio::test]
async fn a_name_that_nobody_checked_is_nobody_s() {
    let (broker, access) = start(listener()).await;
    access.give("carol", Write, "a");
    access.give("carol", Create, "a");
    let mut carol = broker.connect(login(V5, "carol", Some("carol"), Some("whatever"))).await;
    assert_eq!(published(&mut carol, "a", "1").await, 0x87);
    access.give("ANONYMOUS", Write, "a");
    access.give("ANONYMOUS", Create, "a");
    assert_eq!(published(&mut carol, "a", "2").await, 0);
}

#[tokio::test]
async fn the_acl_file_and_the_log_both_have_to_agree() {
    let acl = AclFile::parse("user alice\ntopic readwrite a/1\n").unwrap();
    let rules = ListenerConfig { authorizer: Some(Arc::new(acl)), ..listener() };
    let (broker, access) = start(rules).await;
    access.give("alice", Create, CLUSTER_NAME);
    let mut alice = broker.connect(login(V5, "alice", Some("alice"), Some("a"))).await;
    assert_eq!(published(&mut alice, "a/1", "x").await, 0x87);
    access.give("alice", Write, "a");
    assert_eq!(published(&mut alice, "a/1", "x").await, 0);
    assert_eq!(published(&mut alice, "a/2", "x").await, 0x87);
}
