//! Reading properties of a PUBLISH in place.

use mqtt_codec::{PropertiesBuf, Property, UserProperty};

#[test]
fn a_property_list_reads_back_what_was_put_in() {
    let list = [
        Property::PayloadFormatIndicator(false),
        Property::UserProperty("a", "1"),
        Property::TopicAlias(7),
        Property::UserProperty("a", "2"),
        Property::MessageExpiryInterval(5),
        Property::ContentType("text"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"\0"),
        Property::SubscriptionIdentifier(300),
        Property::SubscriptionIdentifier(1),
    ];
    let buf = PropertiesBuf::from_properties(list).expect("valid");
    assert_eq!(buf.iter().collect::<Vec<_>>(), list);
    let p = buf.properties();
    assert_eq!(p.topic_alias(), Some(7));
    assert_eq!(p.message_expiry_interval(), Some(5));
    assert_eq!(p.payload_format_indicator(), Some(false));
    assert_eq!(p.content_type(), Some("text"));
    assert_eq!(p.response_topic(), Some("r"));
    assert_eq!(p.correlation_data(), Some(&b"\0"[..]));
    assert_eq!(p.subscription_identifiers().collect::<Vec<_>>(), [300, 1]);
    assert_eq!(p.user_properties().collect::<Vec<_>>(), [("a", "1"), ("a", "2")]);
    assert_eq!(UserProperty::new("a", "b").name, "a");
}

#[test]
fn what_a_peer_must_refuse_is_not_written() {
    let long = "x".repeat(65536);
    for (property, text) in [
        (Property::TopicAlias(0), "PUBLISH: topic alias: is 0"),
        (
            Property::SubscriptionIdentifier(0),
            "PUBLISH: subscription identifier: is not between 1 and 268435455",
        ),
        (
            Property::SubscriptionIdentifier(1 << 28),
            "PUBLISH: subscription identifier: is not between 1 and 268435455",
        ),
        (Property::ResponseTopic("a/#"), "PUBLISH: response topic: is not a topic name"),
        (Property::ContentType("\0"), "PUBLISH: content type: holds the character U+0000"),
        (Property::UserProperty("a", &long), "user property of 65536 bytes is over 65535"),
        (Property::ReceiveMaximum(1), "PUBLISH: receive maximum: may not stand in this packet"),
    ] {
        let error = PropertiesBuf::from_properties([property]).expect_err(text);
        assert_eq!(error.to_string(), text);
    }
    let twice = [Property::TopicAlias(1), Property::TopicAlias(2)];
    let error = PropertiesBuf::from_properties(twice).expect_err("twice");
    assert_eq!(error.to_string(), "PUBLISH: topic alias: stands there twice");
}
