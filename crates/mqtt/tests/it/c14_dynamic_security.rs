//! Clients, groups and roles that change while the broker runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::harness::*;
use bytes::Bytes;
use mqtt::{DynamicRights, DynamicSecurity, DynamicUsers, ListenerConfig, MqttConfig};
use mqtt_codec::{Connect, Packet, Password, ProtocolVersion};

const REQUEST: &str = "$CONTROL/dynamic-security/v1";
const RESPONSE: &str = "$CONTROL/dynamic-security/v1/response";

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dynamic-security.json");
    std::fs::write(&path, DynamicSecurity::initial_file("admin", "secret").unwrap()).unwrap();
    (dir, path)
}

async fn broker(path: &Path) -> Broker {
    let dynamic = DynamicSecurity::open(path).unwrap();
    let mut listener = ListenerConfig::new(([127, 0, 0, 1], 0).into());
    listener.allow_anonymous = false;
    listener.authenticator = Some(Arc::new(DynamicUsers::new(dynamic.clone(), None)));
    listener.authorizer = Some(Arc::new(DynamicRights::new(dynamic, None)));
    Broker::with(MqttConfig { listeners: vec![listener], ..config() }, Arc::default()).await
}

fn login(version: ProtocolVersion, id: &str, name: &str, password: &str) -> Connect {
    let password = Some(Password(Bytes::copy_from_slice(password.as_bytes())));
    Connect { user_name: Some(name.to_owned()), password, ..clean(version, id) }
}

/// Who gives commands.
struct Admin(Client);

impl Admin {
    async fn of(broker: &Broker) -> Self {
        let mut client = broker.connect(login(V5, "admin", "admin", "secret")).await;
        client.subscribe(RESPONSE, 1).await;
        Self(client)
    }

    /// Gives commands; the answers without what is around them.
    async fn tell(&mut self, commands: &str) -> String {
        let payload = format!(r#"{{"commands":[{commands}]}}"#);
        self.0.send(&Packet::Publish(publish(REQUEST, &payload, 0))).await;
        let answer = self.0.message().await;
        let answer = answer.strip_prefix(&format!("publish {RESPONSE} q0 {{\"responses\":[")).unwrap();
        answer.strip_suffix("]}").unwrap().to_owned()
    }
}

#[tokio::test]
async fn rights_change_at_once_and_last() {
    let (_dir, path) = file();
    let broker_a = broker(&path).await;
    let mut admin = Admin::of(&broker_a).await;
    let made = admin
        .tell(
            r#"{"command":"createRole","rolename":"r","acls":[{"acltype":"publishClientSend","topic":"a/#","allow":true}]},
            {"command":"createGroup","groupname":"g","roles":[{"rolename":"r","priority":3}]},
            {"command":"createClient","username":"u","password":"pw","groups":[{"groupname":"g"}],"correlationData":"x"},
            {"command":"getClient","username":"u"}"#,
        )
        .await;
    assert_eq!(
        made,
        r#"{"command":"createRole"},{"command":"createGroup"},{"command":"createClient","correlationData":"x"},"#
            .to_owned()
            + r#"{"command":"getClient","data":{"client":{"username":"u","roles":[],"groups":[{"groupname":"g"}]}}}"#
    );
    let mut user = broker_a.connect(login(V5, "u", "u", "pw")).await;
    user.publish("a/1", "yes", 1).await;
    let mut denied = publish("b/1", "no", 1);
    denied.packet_id = Some(id(9));
    user.send(&Packet::Publish(denied)).await;
    user.expect("puback 9 0x87").await;
    // Whoever is concerned by a change is disconnected.
    admin.tell(r#"{"command":"removeGroupRole","groupname":"g","rolename":"r"}"#).await;
    user.expect("disconnect 0x98").await;
    let mut user = broker_a.connect(login(V5, "u", "u", "pw")).await;
    let mut denied = publish("a/1", "no", 1);
    denied.packet_id = Some(id(1));
    user.send(&Packet::Publish(denied)).await;
    user.expect("puback 1 0x87").await;
    admin.tell(r#"{"command":"disableClient","username":"u"}"#).await;
    user.expect("disconnect 0x98").await;
    broker_a.stop().await;

    // The file says it too.
    let broker_b = broker(&path).await;
    let (_, connack) = broker_b.try_connect(login(V5, "u", "u", "pw")).await;
    assert_eq!(connack.reason.as_u8(), 0x87);
    let mut admin = Admin::of(&broker_b).await;
    admin.tell(r#"{"command":"enableClient","username":"u"}"#).await;
    broker_b.connect(login(V311, "u", "u", "pw")).await;
}

#[tokio::test]
async fn commands_are_for_those_who_may() {
    let (_dir, path) = file();
    let broker = broker(&path).await;
    let mut admin = Admin::of(&broker).await;
    admin
        .tell(
            r#"{"command":"setDefaultACLAccess","acls":[{"acltype":"publishClientSend","allow":true},
            {"acltype":"subscribe","allow":true}]},{"command":"createClient","username":"u","password":"pw"}"#,
        )
        .await;
    // What is allowed by default are never commands, nor their answers.
    let mut user = broker.connect(login(V5, "u", "u", "pw")).await;
    let packet = mqtt_codec::Subscription::new("$CONTROL/#", mqtt_codec::QoS::AtMostOnce);
    user.send(&Packet::Subscribe(mqtt_codec::Subscribe::new(id(1), vec![packet]))).await;
    user.expect("suback 1 [135]").await;
    let mut command = publish(REQUEST, r#"{"commands":[{"command":"deleteClient","username":"admin"}]}"#, 1);
    command.packet_id = Some(id(2));
    user.send(&Packet::Publish(command)).await;
    user.expect("puback 2 0x87").await;
    user.publish("anything", "else", 1).await;
    assert!(
        admin.tell(r#"{"command":"getClient","username":"admin"}"#).await.contains(r#""username":"admin""#)
    );
}

#[tokio::test]
async fn what_cannot_be_saved_is_not_changed() {
    let (dir, path) = file();
    let broker = broker(&path).await;
    let mut admin = Admin::of(&broker).await;
    // A folder in the way of the new file: it fails for root too.
    let blocked = dir.path().join("dynamic-security.json.new");
    std::fs::create_dir(&blocked).unwrap();
    let create = r#"{"command":"createClient","username":"u","password":"pw"}"#;
    assert_eq!(admin.tell(create).await, r#"{"command":"createClient","error":"Internal error"}"#);
    let get = r#"{"command":"getClient","username":"u"}"#;
    assert_eq!(admin.tell(get).await, r#"{"command":"getClient","error":"Client not found"}"#);
    std::fs::remove_dir(&blocked).unwrap();
    assert_eq!(admin.tell(create).await, r#"{"command":"createClient"}"#);
}

#[test]
fn a_file_that_is_none_is_refused() {
    let (_dir, path) = file();
    for wrong in ["{", "{\"clients\":{}}"] {
        std::fs::write(&path, wrong).unwrap();
        assert!(DynamicSecurity::open(&path).is_err(), "{wrong}");
    }
    assert!(DynamicSecurity::open(&path.with_file_name("missing")).is_err());
}
