use kafka_codec::Uuid;

use super::*;
use crate::config::BrokerProperties;

fn acl(text: &str) -> Acl {
    // "allow User:a * READ TOPIC literal t"
    let words: Vec<&str> = text.split(' ').collect();
    let find = |name: &str| AclOperation::ALL.iter().copied().find(|o| o.name() == name).unwrap();
    let kind = |name: &str| ResourceType::ALL.iter().copied().find(|o| o.name() == name).unwrap();
    Acl {
        permission: if words[0] == "allow" { AclPermission::Allow } else { AclPermission::Deny },
        principal: words[1].into(),
        host: words[2].into(),
        operation: find(words[3]),
        resource_type: kind(words[4]),
        pattern: if words[5] == "literal" { PatternType::Literal } else { PatternType::Prefixed },
        name: words[6].into(),
    }
}

fn set(texts: &[&str]) -> AclSet {
    let mut set = AclSet::default();
    for (n, text) in (1..).zip(texts) {
        set.insert(Uuid([n; 16]), acl(text));
    }
    set
}

fn authorizer(extra: &[(&str, &str)]) -> Authorizer {
    let mut properties = BrokerProperties::default();
    let class = ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    for (key, value) in [class].iter().chain(extra) {
        properties.fixed.insert((*key).into(), (*value).into());
    }
    Authorizer::from_properties(&properties)
}

/// Asks "User:a 10.0.0.1 READ t".
fn ask(authorizer: &Authorizer, acls: &AclSet, question: &str) -> bool {
    let words: Vec<&str> = question.split(' ').collect();
    let operation = AclOperation::ALL.iter().copied().find(|o| o.name() == words[2]).unwrap();
    let topic = Resource { kind: ResourceType::Topic, name: words[3] };
    authorizer.allows(acls, words[0], words[1], operation, topic)
}

#[test]
fn patterns_hosts_and_everybody() {
    let acls = set(&[
        "allow User:a * READ TOPIC literal t",
        "allow User:b 10.0.0.1 WRITE TOPIC prefixed te",
        "allow User:* * DESCRIBE TOPIC literal *",
        "allow User:c * ALL TOPIC literal ü",
    ]);
    let authorizer = authorizer(&[]);
    for (question, want) in [
        ("User:a h READ t", true),
        ("User:a h READ te", false),
        ("User:a h WRITE t", false),
        ("User:b 10.0.0.1 WRITE te", true),
        ("User:b 10.0.0.1 WRITE test", true),
        ("User:b 10.0.0.2 WRITE test", false),
        ("User:b 10.0.0.1 WRITE t", false),
        ("User:z h DESCRIBE anything", true),
        ("User:c h ALTER_CONFIGS ü", true),
    ] {
        assert_eq!(ask(&authorizer, &acls, question), want, "{question}");
    }
}

#[test]
fn refusals_win_and_imply_nothing() {
    let acls = set(&[
        "allow User:a * ALL TOPIC literal *",
        "deny User:a * WRITE TOPIC prefixed secret",
        "allow User:b * ALTER TOPIC literal t",
        "allow User:b * ALTER_CONFIGS TOPIC literal t",
        "deny User:c * READ TOPIC literal t",
        "allow User:c * DESCRIBE TOPIC literal t",
    ]);
    let authorizer = authorizer(&[]);
    for (question, want) in [
        ("User:a h WRITE secrets", false),
        ("User:a h DESCRIBE secrets", true),
        ("User:a h WRITE open", true),
        ("User:b h DESCRIBE t", true),
        ("User:b h DESCRIBE_CONFIGS t", true),
        ("User:b h READ t", false),
        ("User:c h DESCRIBE t", true),
    ] {
        assert_eq!(ask(&authorizer, &acls, question), want, "{question}");
    }
}

#[test]
fn super_users_and_resources_without_entries() {
    let acls = set(&["deny User:* * ALL TOPIC literal t"]);
    let open = authorizer(&[("allow.everyone.if.no.acl.found", "true"), ("super.users", "User:root;User:x")]);
    assert!(ask(&open, &acls, "User:root h WRITE t"));
    assert!(!ask(&open, &acls, "User:a h WRITE t"));
    assert!(ask(&open, &acls, "User:a h WRITE other"));
    assert!(!ask(&authorizer(&[]), &acls, "User:a h WRITE other"));
    assert!(ask(&Authorizer::default(), &acls, "User:a h WRITE t"), "no authorizer refuses nobody");
}

#[test]
fn any_resource_of_a_kind() {
    let authorizer = authorizer(&[]);
    let any = |texts: &[&str]| {
        authorizer.allows_any(&set(texts), "User:a", "h", AclOperation::Write, ResourceType::Topic)
    };
    assert!(any(&["allow User:a * WRITE TOPIC literal t"]));
    assert!(any(&["allow User:a * ALL TOPIC prefixed t", "deny User:a * WRITE TOPIC literal t"]));
    assert!(!any(&["allow User:a * WRITE TOPIC literal test", "deny User:a * ALL TOPIC prefixed t"]));
    assert!(!any(&["allow User:a * WRITE TOPIC literal *", "deny User:* * WRITE TOPIC literal *"]));
    assert!(!any(&["allow User:a * READ TOPIC literal t", "allow User:a * WRITE GROUP literal t"]));
}

#[test]
fn filters_find_what_covers_a_name() {
    let acls = set(&[
        "allow User:a * READ TOPIC literal test",
        "allow User:a * READ TOPIC prefixed te",
        "allow User:a * READ TOPIC literal *",
        "deny User:b * READ TOPIC literal other",
    ]);
    let count = |name: Option<&str>, pattern: PatternType| {
        let filter = AclFilter {
            resource_type: ResourceType::Any,
            name: name.map(Into::into),
            pattern,
            principal: None,
            host: None,
            operation: AclOperation::Any,
            permission: AclPermission::Any,
        };
        acls.iter().filter(|(_, acl)| filter.matches(acl)).count()
    };
    assert_eq!(count(Some("test"), PatternType::Match), 3);
    assert_eq!(count(Some("test"), PatternType::Literal), 1);
    assert_eq!(count(Some("te"), PatternType::Prefixed), 1);
    assert_eq!(count(Some("te"), PatternType::Any), 1);
    assert_eq!(count(None, PatternType::Any), 4);
    assert_eq!(count(None, PatternType::Prefixed), 1);
}

#[test]
fn removed_entries_hold_no_more() {
    let mut acls = set(&["allow User:a * READ TOPIC literal t"]);
    assert_eq!(acls.len(), 1);
    assert!(acls.remove(&Uuid([1; 16])).is_some());
    assert!(!ask(&authorizer(&[]), &acls, "User:a h READ t") && acls.is_empty());
}
