//! Logging in: mechanisms, failures, sessions that end, and what is open before.

use std::num::NonZeroU32;

use bytes::Bytes;
use client::security::Exchange;
use client::security::scram::ScramMechanism;
use kafka_codec::acl::{AclOperation, AclPermission, PatternType, ResourceType};
use kafka_codec::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_codec::messages::create_acls_request::AclCreation;
use kafka_codec::messages::describe_user_scram_credentials_request::UserName;
use kafka_codec::messages::{
    AlterUserScramCredentialsRequest, ApiVersionsRequest, CreateAclsRequest, CreateDelegationTokenRequest,
    DescribeDelegationTokenRequest, DescribeUserScramCredentialsRequest, ExpireDelegationTokenRequest,
    MetadataRequest, RenewDelegationTokenRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_codec::{ErrorCode, Message as _};

use crate::harness::{Client, Target, TestBroker, batch};

const LISTENERS: &[(&str, &str)] = &[
    ("listeners", "PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0"),
    ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
    (
        "listener.name.sasl_plaintext.plain.sasl.jaas.config",
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\" user_bob=\"b\";",
    ),
    ("connection.failed.authentication.delay.ms", "1"),
];

async fn start(more: &[(&str, &str)]) -> TestBroker {
    let settings: Vec<_> = LISTENERS.iter().chain(more).copied().collect();
    TestBroker::start(&settings).await
}

async fn stranger(broker: &TestBroker) -> Client {
    Client::connect(broker.handle.listeners()[1].address).await
}

async fn handshake(client: &mut Client, version: i16, mechanism: &str) -> (i16, Vec<String>) {
    let response = client.call(version, &SaslHandshakeRequest { mechanism: mechanism.into() }).await;
    (response.error_code, response.mechanisms)
}

/// Sends a token; answers error, message, the server's token and the session's lifetime.
async fn token(client: &mut Client, token: Vec<u8>) -> (i16, String, Bytes, i64) {
    let request = SaslAuthenticateRequest { auth_bytes: token.into(), ..Default::default() };
    let response = client.call(2, &request).await;
    let message = response.error_message.unwrap_or_default();
    (response.error_code, message, response.auth_bytes, response.session_lifetime_ms)
}

async fn plain(client: &mut Client, user: &str, password: &str) -> (i16, String) {
    assert_eq!(handshake(client, 1, "PLAIN").await.0, 0);
    let (code, message, ..) = token(client, format!("\0{user}\0{password}").into_bytes()).await;
    (code, message)
}

fn exchange(mechanism: &str, user: &str, password: &str) -> Exchange {
    let jaas = format!("ScramLoginModule required username=\"{user}\" password=\"{password}\";");
    let properties = [
        ("bootstrap.servers", "h:1"),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", mechanism),
        ("sasl.jaas.config", &jaas),
    ];
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Exchange::from_properties(properties).unwrap()
}

async fn scram(client: &mut Client, mechanism: &str, user: &str, password: &str) -> i16 {
    assert_eq!(handshake(client, 1, mechanism).await.0, 0);
    let mut login = exchange(mechanism, user, password);
    let mut message = login.first();
    loop {
        let (code, _, answer, _) = token(client, message).await;
        if code != 0 {
            return code;
        }
        match login.answer(&answer).unwrap() {
            Some(more) => message = more,
            None => return 0,
        }
    }
}

async fn set_scram(client: &mut Client, user: &str, password: &str, iterations: i32) -> i16 {
    let count = NonZeroU32::new(u32::try_from(iterations).unwrap()).unwrap();
    let salted = ScramMechanism::Sha256.salted_password(password.as_bytes(), b"salt", count);
    let request = AlterUserScramCredentialsRequest {
        upsertions: vec![ScramCredentialUpsertion {
            name: user.into(),
            mechanism: ScramMechanism::Sha256.code(),
            iterations,
            salt: Bytes::from_static(b"salt"),
            salted_password: salted.into(),
            ..ScramCredentialUpsertion::default()
        }],
        ..AlterUserScramCredentialsRequest::default()
    };
    client.call(0, &request).await.results[0].error_code
}

#[tokio::test]
async fn strangers_may_only_say_who_they_are() {
    let broker = start(&[]).await;
    let mut client = stranger(&broker).await;
    let versions = client
        .call(
            3,
            &ApiVersionsRequest {
                client_software_name: "t".into(),
                client_software_version: "1".into(),
                ..ApiVersionsRequest::default()
            },
        )
        .await;
    assert_eq!(versions.error_code, 0);
    client.send(12, &MetadataRequest::default()).await;
    assert!(client.is_closed().await);
    // And not in large frames.
    let mut client = stranger(&broker).await;
    client.send_raw(&(600_000_i32).to_be_bytes()).await;
    assert!(client.is_closed().await);
    let mut client = stranger(&broker).await;
    let (code, message, ..) = token(&mut client, b"\0alice\0secret".to_vec()).await;
    assert_eq!(code, ErrorCode::IllegalSaslState.code(), "{message}");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn plain_passwords() {
    let broker = start(&[]).await;
    let mut client = stranger(&broker).await;
    assert_eq!(plain(&mut client, "alice", "secret").await, (0, String::new()));
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    assert_eq!(client.produce(&Target::new("t"), &batch(&["a"])).await, (0, 0));
    for (user, password) in [("alice", "wrong"), ("nobody", "secret")] {
        let mut client = stranger(&broker).await;
        let refused = plain(&mut client, user, password).await;
        let words = "Authentication failed: Invalid username or password".to_owned();
        assert_eq!(refused, (ErrorCode::SaslAuthenticationFailed.code(), words));
        assert!(client.is_closed().await);
    }
    let mut client = stranger(&broker).await;
    let (code, offered) = handshake(&mut client, 1, "GSSAPI").await;
    assert_eq!(code, ErrorCode::UnsupportedSaslMechanism.code());
    assert_eq!(offered, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
    assert!(client.is_closed().await);
    // A listener without SASL has no use for it.
    let mut open = broker.client().await;
    assert_eq!(handshake(&mut open, 1, "PLAIN").await.0, ErrorCode::IllegalSaslState.code());
}

#[tokio::test]
async fn old_clients_send_bare_tokens() {
    let broker = start(&[]).await;
    let mut client = stranger(&broker).await;
    assert_eq!(handshake(&mut client, 0, "PLAIN").await.0, 0);
    let bare = b"\0alice\0secret";
    client.send_raw(&u32::try_from(bare.len()).unwrap().to_be_bytes()).await;
    client.send_raw(bare).await;
    assert_eq!(client.receive().await.unwrap(), Bytes::new());
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
}

#[tokio::test]
async fn scram_users_are_kept_and_can_be_taken_away() {
    let broker = start(&[]).await;
    let mut admin = broker.client().await;
    assert_eq!(set_scram(&mut admin, "carol", "pw", 4095).await, ErrorCode::UnacceptableCredential.code());
    assert_eq!(set_scram(&mut admin, "carol", "pw", 8192).await, 0);
    let mut client = stranger(&broker).await;
    assert_eq!(scram(&mut client, "SCRAM-SHA-256", "carol", "pw").await, 0);
    assert!(client.describe("t").await.is_none());
    let refused = ErrorCode::SaslAuthenticationFailed.code();
    for (mechanism, user, password) in
        [("SCRAM-SHA-256", "carol", "no"), ("SCRAM-SHA-256", "dave", "pw"), ("SCRAM-SHA-512", "carol", "pw")]
    {
        let mut client = stranger(&broker).await;
        assert_eq!(scram(&mut client, mechanism, user, password).await, refused, "{mechanism} {user}");
    }
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, LISTENERS).await;
    let mut client = stranger(&broker).await;
    assert_eq!(scram(&mut client, "SCRAM-SHA-256", "carol", "pw").await, 0);
    let mut admin = broker.client().await;
    let describe = DescribeUserScramCredentialsRequest {
        users: Some(vec![
            UserName { name: "carol".into(), ..UserName::default() },
            UserName { name: "dave".into(), ..UserName::default() },
        ]),
        ..DescribeUserScramCredentialsRequest::default()
    };
    let results = admin.call(0, &describe).await.results;
    assert_eq!(results[0].credential_infos[0].iterations, 8192);
    assert_eq!(results[1].error_code, ErrorCode::ResourceNotFound.code());
    let delete = AlterUserScramCredentialsRequest {
        deletions: vec![ScramCredentialDeletion { name: "carol".into(), mechanism: 1, ..Default::default() }],
        ..AlterUserScramCredentialsRequest::default()
    };
    assert_eq!(admin.call(0, &delete).await.results[0].error_code, 0);
    assert_eq!(admin.call(0, &delete).await.results[0].error_code, ErrorCode::ResourceNotFound.code());
    let mut client = stranger(&broker).await;
    assert_eq!(scram(&mut client, "SCRAM-SHA-256", "carol", "pw").await, refused);
}

#[tokio::test]
async fn sessions_end_and_can_be_renewed_by_the_same_user() {
    let broker = start(&[("connections.max.reauth.ms", "60000")]).await;
    let mut client = stranger(&broker).await;
    assert_eq!(handshake(&mut client, 1, "PLAIN").await.0, 0);
    let (code, _, _, lifetime) = token(&mut client, b"\0alice\0secret".to_vec()).await;
    assert_eq!((code, lifetime), (0, 60_000));
    assert_eq!(plain(&mut client, "alice", "secret").await.0, 0);
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    let (code, message) = plain(&mut client, "bob", "b").await;
    assert_eq!(code, ErrorCode::SaslAuthenticationFailed.code());
    assert!(message.contains("Cannot change principals during re-authentication"), "{message}");
    assert!(client.is_closed().await);

    let broker = start(&[("connections.max.reauth.ms", "1")]).await;
    let mut client = stranger(&broker).await;
    assert_eq!(plain(&mut client, "alice", "secret").await.0, 0);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    client.send(12, &MetadataRequest::default()).await;
    assert!(client.is_closed().await, "its session is over");
}

#[tokio::test]
async fn entries_hold_for_whom_they_name() {
    let authorizer = ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    let broker = start(&[authorizer, ("super.users", "User:ANONYMOUS")]).await;
    let mut admin = broker.client().await;
    assert_eq!(admin.create_topic("t", 1, &[]).await, 0);
    let mut alice = stranger(&broker).await;
    assert_eq!(plain(&mut alice, "alice", "secret").await.0, 0);
    let mut bob = stranger(&broker).await;
    assert_eq!(plain(&mut bob, "bob", "b").await.0, 0);
    let refused = ErrorCode::TopicAuthorizationFailed.code();
    assert_eq!(alice.produce(&Target::new("t"), &batch(&["a"])).await.0, refused);
    let grant = CreateAclsRequest {
        creations: vec![AclCreation {
            resource_type: ResourceType::Topic.code(),
            resource_name: "t".into(),
            resource_pattern_type: PatternType::Literal.code(),
            principal: "User:alice".into(),
            host: "127.0.0.1".into(),
            operation: AclOperation::Write.code(),
            permission_type: AclPermission::Allow.code(),
            ..AclCreation::default()
        }],
        ..CreateAclsRequest::default()
    };
    assert_eq!(admin.call(3, &grant).await.results[0].error_code, 0);
    assert_eq!(alice.produce(&Target::new("t"), &batch(&["a"])).await, (0, 0), "on the connection she has");
    assert_eq!(bob.produce(&Target::new("t"), &batch(&["a"])).await.0, refused);
    assert!(SaslHandshakeRequest::VERSIONS.contains(&1));
}

#[tokio::test]
async fn delegation_tokens_are_refused_as_kafka_does_without_a_secret_key() {
    let broker = start(&[]).await;
    let mut known = stranger(&broker).await;
    assert_eq!(plain(&mut known, "alice", "secret").await, (0, String::new()));
    let anonymous = broker.client().await;
    let cases = [
        (known, ErrorCode::DelegationTokenAuthDisabled, "alice"),
        (anonymous, ErrorCode::DelegationTokenRequestNotAllowed, "ANONYMOUS"),
    ];
    for (mut client, code, name) in cases {
        let code = code.code();
        let created = client.call(3, &CreateDelegationTokenRequest::default()).await;
        assert_eq!((created.error_code, created.principal_type.as_str()), (code, "User"));
        assert_eq!(
            (created.principal_name.as_str(), created.token_requester_principal_name.as_str()),
            (name, name)
        );
        assert_eq!(client.call(2, &RenewDelegationTokenRequest::default()).await.error_code, code);
        assert_eq!(client.call(2, &ExpireDelegationTokenRequest::default()).await.error_code, code);
        assert_eq!(client.call(3, &DescribeDelegationTokenRequest::default()).await.error_code, code);
    }
}

#[tokio::test]
async fn who_has_not_logged_in_sends_small_frames_only() {
    let broker = start(&[("sasl.server.max.receive.size", "1000")]).await;
    let mut client = stranger(&broker).await;
    client.send_raw(&1001i32.to_be_bytes()).await;
    assert!(client.is_closed().await);
    let mut client = stranger(&broker).await;
    assert_eq!(plain(&mut client, "alice", "secret").await, (0, String::new()));
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    assert_eq!(client.produce(&Target::new("t"), &batch(&["a".repeat(2000).as_str()])).await, (0, 0));
}
