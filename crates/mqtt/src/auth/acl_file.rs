//! Mosquitto's `acl_file`: `topic`, `user` and `pattern` lines.

use hashbrown::HashMap;
use mqtt_codec::topic;

use super::{Access, Authorizer, Principal};

/// What one line gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Deny,
    Read,
    Write,
    ReadWrite,
}

impl Right {
    fn covers(self, access: Access) -> bool {
        match self {
            Self::Deny => false,
            Self::ReadWrite => true,
            Self::Read => access == Access::Read,
            Self::Write => access == Access::Write,
        }
    }
}

/// Filters in the order they are asked: denials first.
#[derive(Debug, Default)]
struct Rules(Vec<(String, Right)>);

impl Rules {
    fn add(&mut self, filter: String, right: Right) {
        if right == Right::Deny {
            self.0.insert(0, (filter, right));
        } else {
            self.0.push((filter, right));
        }
    }

    /// The first answer; `None` where no line says anything.
    fn ask(
        &self,
        access: Access,
        name: &str,
        mut filter_of: impl FnMut(&str) -> Option<String>,
    ) -> Option<bool> {
        for (filter, right) in &self.0 {
            if name.starts_with('$') && !filter.starts_with('$') {
                continue;
            }
            let Some(filter) = filter_of(filter) else { continue };
            if !topic::matches(&filter, name) {
                continue;
            }
            if *right == Right::Deny {
                return Some(false);
            }
            if right.covers(access) {
                return Some(true);
            }
        }
        None
    }
}

/// A file that was read whole and without an error.
#[derive(Debug, Default)]
pub struct AclFile {
    anonymous: Rules,
    users: HashMap<String, Rules>,
    patterns: Rules,
}

impl AclFile {
    /// Reads the text of an ACL file.
    ///
    /// # Errors
    /// Every wrong line with its number, from 1. A file with a wrong line is not used at all.
    pub fn parse(text: &str) -> Result<Self, Vec<(usize, String)>> {
        let mut acl = Self::default();
        let mut problems = Vec::new();
        let mut user: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end_matches(['\r', ' ']);
            if line.trim_start().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(why) = acl.line(line.trim_start(), &mut user) {
                problems.push((index + 1, why));
            }
        }
        if problems.is_empty() { Ok(acl) } else { Err(problems) }
    }

    fn line(&mut self, line: &str, user: &mut Option<String>) -> Result<(), String> {
        let (keyword, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match keyword {
            "user" if rest.is_empty() => Err("user: a name is missing".to_owned()),
            "user" => {
                self.users.entry(rest.to_owned()).or_default();
                *user = Some(rest.to_owned());
                Ok(())
            }
            "topic" | "pattern" => {
                let (right, filter) = right_and_filter(rest);
                if filter.is_empty() {
                    return Err(format!("{keyword}: a topic is missing"));
                }
                if topic::validate_filter(filter).is_err() {
                    return Err(format!("{keyword}: {filter:?} is not a valid topic filter"));
                }
                let rules = match (keyword, user) {
                    ("pattern", _) => &mut self.patterns,
                    (_, Some(user)) => self.users.entry(user.clone()).or_default(),
                    _ => &mut self.anonymous,
                };
                rules.add(filter.to_owned(), right);
                Ok(())
            }
            other => Err(format!("{other:?} is not topic, user or pattern")),
        }
    }
}

fn right_and_filter(text: &str) -> (Right, &str) {
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let right = match first {
        _ if rest.trim().is_empty() => return (Right::ReadWrite, text),
        "read" => Right::Read,
        "write" => Right::Write,
        "readwrite" => Right::ReadWrite,
        "deny" => Right::Deny,
        // A topic may hold blanks.
        _ => return (Right::ReadWrite, text),
    };
    (right, rest.trim_start())
}

impl Authorizer for AclFile {
    fn allows(&self, who: &Principal<'_>, access: Access, name: &str) -> bool {
        // As Mosquitto 2.0: everybody may subscribe to anything, each message is checked when it is delivered.
        if matches!(access, Access::Subscribe | Access::Unsubscribe) {
            return true;
        }
        let own = match who.user_name {
            Some(user) => self.users.get(user),
            None => Some(&self.anonymous),
        };
        if let Some(answer) = own.and_then(|rules| rules.ask(access, name, |f| Some(f.to_owned()))) {
            return answer;
        }
        // In a pattern a name with wildcards would stand for others' names.
        let is_plain = |text: &str| !text.contains(['+', '#']);
        if self.patterns.0.is_empty() || !is_plain(who.client_id) || !who.user_name.is_none_or(is_plain) {
            return false;
        }
        let with_names = |pattern: &str| {
            let mut filter = pattern.replace("%c", who.client_id);
            if filter.contains("%u") {
                filter = filter.replace("%u", who.user_name?);
            }
            Some(filter)
        };
        self.patterns.ask(access, name, with_names).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Access::{Read, Subscribe, Write};

    const FILE: &str = "# for all without a name\ntopic read public/#\ntopic deny public/secret\n\
        user alice\ntopic sensors/+\ntopic write  a topic/with blanks\ntopic read $SYS/#\n\
        user bob\ntopic deny d/alice/#\n\
        pattern readwrite d/%c/#\npattern write u/%u/x\n";

    fn check(acl: &AclFile, user: Option<&str>, client_id: &str, access: Access, topic: &str) -> bool {
        let peer = ([127, 0, 0, 1], 1).into();
        acl.allows(&Principal { user_name: user, client_id, peer }, access, topic)
    }

    #[test]
    fn each_line_gives_what_mosquitto_gives() {
        let acl = AclFile::parse(FILE).unwrap();
        for (user, client, access, topic, expected) in [
            (None, "c", Read, "public/a", true),
            (None, "c", Write, "public/a", false),
            (None, "c", Read, "public/secret", false),
            (None, "c", Subscribe, "public/secret", true),
            (Some("alice"), "c", Read, "public/a", false),
            (Some("alice"), "c", Write, "sensors/1", true),
            (Some("alice"), "c", Read, "sensors/1/2", false),
            (Some("alice"), "c", Write, "a topic/with blanks", true),
            (Some("alice"), "c", Read, "$SYS/broker/uptime", true),
            (Some("nobody"), "c", Read, "sensors/1", false),
            (Some("nobody"), "c", Write, "d/c/1", true),
            (None, "c", Write, "d/c/1", true),
            (Some("nobody"), "c", Write, "d/e/1", false),
            (Some("bob"), "alice", Read, "d/alice/1", false),
            (Some("alice"), "c", Write, "u/alice/x", true),
            (Some("alice"), "c", Read, "u/alice/x", false),
            (None, "c", Write, "u/alice/x", false),
        ] {
            let got = check(&acl, user, client, access, topic);
            assert_eq!(got, expected, "{user:?} {client} {access:?} {topic}");
        }
    }

    #[test]
    fn names_with_wildcards_do_not_reach_others_through_a_pattern() {
        let acl = AclFile::parse("pattern readwrite d/%c/#\npattern read u/%u\npattern write all\n").unwrap();
        for (user, client) in [(None, "+"), (None, "#"), (Some("+"), "c"), (Some("a#"), "c")] {
            for topic in ["d/c/1", "u/x", "all"] {
                assert!(!check(&acl, user, client, Read, topic), "{user:?} {client} {topic}");
                assert!(!check(&acl, user, client, Write, topic), "{user:?} {client} {topic}");
            }
        }
        assert!(!check(&acl, None, "c", Read, "$SYS/x"));
        let sys = AclFile::parse("pattern read #\n").unwrap();
        assert!(!check(&sys, None, "c", Read, "$SYS/x"));
    }

    #[test]
    fn an_empty_file_lets_nobody_do_anything() {
        let acl = AclFile::parse("").unwrap();
        assert!(!check(&acl, Some("u"), "c", Read, "a") && !check(&acl, None, "c", Write, "a"));
    }

    #[test]
    fn wrong_lines_are_named() {
        let problems = AclFile::parse("topic\nuser\nnonsense x\ntopic read a/#/b\n").unwrap_err();
        assert_eq!(problems.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
