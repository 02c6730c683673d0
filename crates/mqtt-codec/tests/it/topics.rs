//! Topic names, filters and matching.

use mqtt_codec::topic::{SharedFilter, TopicError, is_shared, matches, validate_filter, validate_name};

#[test]
fn names() {
    for good in ["a", "/", "a/b", "//", " ", "$SYS/x", "ü", "a b", &"x".repeat(65535)] {
        assert_eq!(validate_name(good), Ok(()), "{good:?}");
    }
    for (bad, why) in [
        ("", TopicError::Empty),
        ("+", TopicError::Wildcard),
        ("a/#", TopicError::Wildcard),
        ("a+b", TopicError::Wildcard),
        ("a\0", TopicError::Null),
        (&"x".repeat(65536), TopicError::TooLong),
    ] {
        assert_eq!(validate_name(bad), Err(why), "{bad:?}");
    }
}

#[test]
fn filters() {
    for good in [
        "a",
        "#",
        "+",
        "/",
        "+/+",
        "/#",
        "a/+/#",
        "+//#",
        "$SYS/#",
        "$share/g/a",
        "$share/g//",
        "$share/g/$SYS/#",
        "$shared",
    ] {
        assert_eq!(validate_filter(good), Ok(()), "{good:?}");
    }
    for (bad, why) in [
        ("", TopicError::Empty),
        ("a#", TopicError::WildcardPlace),
        ("#/a", TopicError::WildcardPlace),
        ("a/b+", TopicError::WildcardPlace),
        ("$share/g/a#", TopicError::WildcardPlace),
        ("$share", TopicError::Share),
        ("$share/g", TopicError::Share),
        ("$share//a", TopicError::Share),
        ("$share/#/a", TopicError::Share),
        ("a\0b", TopicError::Null),
    ] {
        assert_eq!(validate_filter(bad), Err(why), "{bad:?}");
    }
}

#[test]
fn shared() {
    let shared = SharedFilter::parse("$share/g/a/+").expect("shared");
    assert_eq!((shared.group, shared.filter, shared.to_string().as_str()), ("g", "a/+", "$share/g/a/+"));
    assert_eq!(SharedFilter::parse("a/b"), None);
    assert!(is_shared("$share/x") && !is_shared("$sharex/y"));
}

#[test]
fn matching() {
    for (filter, name, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a/", false),
        ("a/", "a", false),
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("#", "a/b", true),
        ("#", "/", true),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("+", "$SYS", false),
        ("$SYS/#", "$SYS/x", true),
        ("$SYS/+", "$SYS/x", true),
        ("+", "a", true),
        ("+", "", true),
        ("+", "a/b", false),
        ("+", "/a", false),
        ("/+", "/a", true),
        ("+/+", "/a", true),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+/c", "a/b/c", true),
        ("a/+/c", "a/b/d", false),
        ("a/+/#", "a/b", true),
        ("a/+/#", "a", false),
        ("a/b/c", "a/b", false),
        ("a/$x", "a/$x", true),
        ("a/+", "a/$x", true),
        ("A", "a", false),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
    ] {
        assert_eq!(matches(filter, name), expected, "{filter:?} {name:?}");
    }
}
