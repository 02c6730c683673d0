//! What roles allow.

use mqtt_codec::topic;

use super::state::{Acl, AclType, Ranked, State};
use crate::auth::Access;

/// The answer; `None` = nothing is said. In this order: the client's roles, then the groups' roles, each by priority; then
/// what holds where no role says anything.
pub(super) fn decide(state: &State, user: Option<&str>, access: Access, topic: &str) -> Option<bool> {
    let by_roles = |roles: &Ranked| {
        let known = roles.names().filter_map(|name| state.roles.get(name));
        known.into_iter().find_map(|role| {
            let first = |kind, fits: fn(&str, &str) -> bool| {
                role.acls.of_kind(kind).find(|a: &&Acl| fits(&a.topic, topic)).map(|a| a.allow)
            };
            let literal = |acl: &str, topic: &str| acl == topic;
            match access {
                Access::Write => first(AclType::Send, topic::matches),
                Access::Read => first(AclType::Receive, topic::matches),
                Access::Subscribe => first(AclType::SubscribeLiteral, literal)
                    .or_else(|| first(AclType::SubscribePattern, covers)),
                Access::Unsubscribe => first(AclType::UnsubscribeLiteral, literal)
                    .or_else(|| first(AclType::UnsubscribePattern, covers)),
            }
        })
    };
    let group_roles = |name: &str| state.groups.get(name).and_then(|g| by_roles(&g.roles));
    let said = match user {
        Some(user) => {
            let client = state.clients.get(user)?;
            by_roles(&client.roles).or_else(|| client.groups.names().find_map(group_roles))
        }
        None => state.anonymous_group.as_deref().and_then(group_roles),
    };
    let default = match access {
        Access::Write => state.default_access.send,
        Access::Read => state.default_access.receive,
        Access::Subscribe => state.default_access.subscribe,
        Access::Unsubscribe => state.default_access.unsubscribe,
    };
    // Commands are never allowed by default.
    said.or_else(|| (default && !topic.starts_with("$CONTROL")).then_some(true))
}

/// Whether everything that a filter finds is found by the filter of a right too.
fn covers(acl: &str, filter: &str) -> bool {
    if acl == "#" {
        return true;
    }
    let open = |text: &str| match text.strip_suffix('#') {
        Some("") => Some(String::new()),
        Some(rest) => rest.strip_suffix('/').map(str::to_owned),
        None => None,
    };
    let (acl_open, filter_open) = (open(acl), open(filter));
    if filter_open.is_some() && acl_open.is_none() {
        return false;
    }
    let acl_text = acl_open.as_deref().unwrap_or(acl);
    let filter_text = filter_open.as_deref().unwrap_or(filter);
    let (mut acls, mut levels) = (acl_text.split('/'), filter_text.split('/'));
    loop {
        match (acls.next(), levels.next()) {
            (None, None) => return true,
            (None, Some(_)) => return acl_open.is_some(),
            (Some(_), None) => return false,
            (Some(a), Some(f)) if a == "+" || a == f => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_to_a_filter_is_a_right_to_narrower_ones() {
        // The cases of the plugin's own test.
        for (acl, filter, expected) in [
            ("foo/+/bar", "foo/#", false),
            ("foo/+/ba℞/#", "foo/baz/ba℞", true),
            ("foo/+/ba℞/#", "foo/baz/ba℞/+", true),
            ("foo/+/ba℞/#", "foo/baz/ba℞/#", true),
            ("foo/+/ba℞/#", "foo/baz/+/#", false),
            ("/+//#", "/foo///#", true),
            ("#", "#", true),
            ("#", "+", true),
            ("/#", "+", false),
            ("/#", "/+", true),
            ("/+", "#", false),
            ("/+", "+", false),
            ("+/+", "topic/topic", true),
            ("+/+", "topic/topic/", false),
            ("+", "#", false),
            ("+", "+", true),
            ("a/b/c/d/e", "a/b/c/d/e", true),
            ("a/b/ /d/e", "a/b/c/d/e", false),
        ] {
            assert_eq!(covers(acl, filter), expected, "{acl} {filter}");
        }
    }
}
