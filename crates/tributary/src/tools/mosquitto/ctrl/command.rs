//! Commands of `dynsec`, as JSON.

use serde_json::{Map, Value, json};

use super::{Ended, UNKNOWN, init};
use crate::tools::mosquitto::passwd::prompt;

const CLIENT: &str = "username";
const GROUP: &str = "groupname";
const ROLE: &str = "rolename";

/// Commands that take names and perhaps a priority: what is asked for first, then second.
const NAMED: &[(&str, &[&str], bool)] = &[
    ("deleteClient", &[CLIENT], false),
    ("getClient", &[CLIENT], false),
    ("enableClient", &[CLIENT], false),
    ("disableClient", &[CLIENT], false),
    ("addClientRole", &[CLIENT, ROLE], true),
    ("removeClientRole", &[CLIENT, ROLE], true),
    ("createGroup", &[GROUP], false),
    ("deleteGroup", &[GROUP], false),
    ("getGroup", &[GROUP], false),
    ("setAnonymousGroup", &[GROUP], false),
    ("addGroupRole", &[GROUP, ROLE], true),
    ("removeGroupRole", &[GROUP, ROLE], true),
    ("addGroupClient", &[GROUP, CLIENT], true),
    ("removeGroupClient", &[GROUP, CLIENT], true),
    ("createRole", &[ROLE], false),
    ("deleteRole", &[ROLE], false),
    ("getRole", &[ROLE], false),
];
const LISTS: &[&str] = &["listClients", "listGroups", "listRoles"];
const ACL_TYPES: &[&str] = &[
    "publishClientSend",
    "publishClientReceive",
    "subscribeLiteral",
    "subscribePattern",
    "unsubscribeLiteral",
    "unsubscribePattern",
];
const DEFAULT_TYPES: &[&str] = &["publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"];

fn invalid<T>() -> Result<T, Ended> {
    Err(Ended::Invalid(String::new()))
}

/// As C's `atoi`: what is no number is 0.
fn number(text: &str) -> i32 {
    crate::tools::mosquitto::number::integer(text)
}

fn is_one_of(text: &str, known: &[&str]) -> bool {
    known.iter().any(|k| k.eq_ignore_ascii_case(text))
}

/// The message that carries a command out.
pub(super) fn payload(name: &str, args: &[String]) -> Result<String, Ended> {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    if is("help") {
        crate::tools::mosquitto::print(HELP);
        return Err(Ended::Done(String::new()));
    }
    if is("init") {
        return init::init(args);
    }
    let mut members = Map::new();
    let known = NAMED.iter().find(|(known, ..)| is(known));
    if let Some((known, keys, priority)) = known {
        let (names, more) = args.split_at_checked(keys.len()).ok_or_else(|| Ended::Invalid(String::new()))?;
        members.insert("command".to_owned(), json!(known));
        for (key, value) in keys.iter().zip(names) {
            members.insert((*key).to_owned(), json!(value));
        }
        match more {
            [] => {}
            [text] if *priority => {
                let priority = number(text);
                if priority != -1 {
                    members.insert("priority".to_owned(), json!(priority));
                }
            }
            _ => return invalid(),
        }
    } else if let Some(known) = LISTS.iter().find(|known| is(known)) {
        members.insert("command".to_owned(), json!(known));
        if args.len() > 2 {
            return invalid();
        }
        for (key, text) in ["count", "offset"].iter().zip(args) {
            let n = number(text);
            if n > 0 {
                members.insert((*key).to_owned(), json!(n));
            }
        }
    } else {
        other(name, args, &mut members)?;
    }
    Ok(json!({ "commands": [Value::Object(members)] }).to_string())
}

fn other(name: &str, args: &[String], members: &mut Map<String, Value>) -> Result<(), Ended> {
    let mut put = |key: &str, value: Value| members.insert(key.to_owned(), value);
    match (name.to_ascii_lowercase().as_str(), args) {
        ("getdefaultaclaccess", _) => {
            put("command", json!("getDefaultACLAccess"));
        }
        ("getanonymousgroup", _) => {
            put("command", json!("getAnonymousGroup"));
        }
        ("setdefaultaclaccess", [kind, access]) => {
            if !is_one_of(kind, DEFAULT_TYPES) {
                return invalid();
            }
            let Some(allow) = allow(access) else {
                return Err(Ended::Invalid("Error: access must be \"allow\" or \"deny\".\n".to_owned()));
            };
            put("command", json!("setDefaultACLAccess"));
            put("acls", json!([{ "acltype": kind, "allow": allow }]));
        }
        ("createclient", [user, options @ ..]) => {
            put("command", json!("createClient"));
            put("username", json!(user));
            let mut options = options.iter();
            let mut password = None;
            while let Some(option) = options.next() {
                let missing = |what: &str| {
                    Ended::Invalid(format!("Error: {option} argument given, but no {what} provided.\n"))
                };
                match option.as_str() {
                    "-c" => {
                        let id = options.next().ok_or_else(|| missing("clientid"))?;
                        put("clientid", json!(id));
                    }
                    "-p" => password = Some(options.next().ok_or_else(|| missing("password"))?.clone()),
                    _ => {}
                }
            }
            if password.is_none() {
                crate::tools::mosquitto::print(&format!(
                    "Enter new password for {user}. Press return for no password (user will be unable to login).\n"
                ));
                let first = ask(&format!("New password for {user}: "))?;
                if !first.is_empty() {
                    if ask(&format!("Reenter password for {user}: "))? != first {
                        return Err(Ended::Done("Error: Passwords do not match.\n".to_owned()));
                    }
                    password = Some(first);
                }
            }
            if let Some(password) = password {
                put("password", json!(password));
            }
        }
        ("setclientid", [user, id @ ..]) if id.len() < 2 => {
            put("command", json!("setClientId"));
            put("username", json!(user));
            if let [id] = id {
                put("clientid", json!(id));
            }
        }
        ("setclientpassword", [user, password @ ..]) if password.len() < 2 => {
            let password = match password {
                [password] => password.clone(),
                _ => new_password(user)?,
            };
            put("command", json!("setClientPassword"));
            put("username", json!(user));
            put("password", json!(password));
        }
        ("addroleacl", [role, kind, topic, access, priority @ ..]) if priority.len() < 2 => {
            let (true, Some(allow)) = (is_one_of(kind, ACL_TYPES), allow(access)) else { return invalid() };
            put("command", json!("addRoleACL"));
            put("rolename", json!(role));
            put("acltype", json!(kind));
            put("topic", json!(topic));
            put("allow", json!(allow));
            if let [text] = priority
                && number(text) != -1
            {
                put("priority", json!(number(text)));
            }
        }
        ("removeroleacl", [role, kind, topic]) => {
            if !is_one_of(kind, ACL_TYPES) {
                return invalid();
            }
            put("command", json!("removeRoleACL"));
            put("rolename", json!(role));
            put("acltype", json!(kind));
            put("topic", json!(topic));
        }
        (
            "setdefaultaclaccess"
            | "createclient"
            | "setclientid"
            | "setclientpassword"
            | "addroleacl"
            | "removeroleacl",
            _,
        ) => return invalid(),
        _ => return Err(Ended::Code(UNKNOWN, format!("Command '{name}' not recognised.\n"))),
    }
    Ok(())
}

fn allow(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "allow" => Some(true),
        "deny" => Some(false),
        _ => None,
    }
}

fn ask(text: &str) -> Result<String, Ended> {
    prompt(text).map_err(Ended::Done)
}

/// Asks for a password twice.
pub(super) fn new_password(user: &str) -> Result<String, Ended> {
    let first = ask(&format!("New password for {user}: "))?;
    if first.is_empty() {
        return Err(Ended::Done("Error: Empty password.\n".to_owned()));
    }
    if ask(&format!("Reenter password for {user}: "))? != first {
        return Err(Ended::Done("Error: Passwords do not match.\n".to_owned()));
    }
    Ok(first)
}

const HELP: &str = include_str!("help.txt");

#[cfg(test)]
mod tests {
    use super::*;

    fn call(text: &str) -> Result<Value, Ended> {
        let mut words = text.split(' ').map(str::to_owned);
        let name = words.next().unwrap_or_default();
        let rest: Vec<String> = words.collect();
        payload(&name, &rest).map(|text| serde_json::from_str::<Value>(&text).unwrap()["commands"][0].clone())
    }

    #[test]
    fn commands_become_json() {
        for (text, expected) in [
            (
                "createClient u -p pw -c id",
                json!({"command": "createClient", "username": "u", "password": "pw", "clientid": "id"}),
            ),
            (
                "ADDCLIENTROLE u r 5",
                json!({"command": "addClientRole", "username": "u", "rolename": "r", "priority": 5}),
            ),
            ("addGroupClient g u", json!({"command": "addGroupClient", "username": "u", "groupname": "g"})),
            ("listRoles 2 1", json!({"command": "listRoles", "count": 2, "offset": 1})),
            ("listClients", json!({"command": "listClients"})),
            ("setClientId u", json!({"command": "setClientId", "username": "u"})),
            (
                "setClientPassword u pw",
                json!({"command": "setClientPassword", "username": "u", "password": "pw"}),
            ),
            ("getAnonymousGroup", json!({"command": "getAnonymousGroup"})),
            (
                "addRoleACL r subscribePattern a/# allow 3",
                json!({"command": "addRoleACL", "rolename": "r", "acltype": "subscribePattern", "topic": "a/#", "allow": true, "priority": 3}),
            ),
            (
                "removeRoleACL r publishClientSend a",
                json!({"command": "removeRoleACL", "rolename": "r", "acltype": "publishClientSend", "topic": "a"}),
            ),
            (
                "setDefaultACLAccess subscribe deny",
                json!({"command": "setDefaultACLAccess", "acls": [{"acltype": "subscribe", "allow": false}]}),
            ),
        ] {
            assert_eq!(call(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_commands_are_answered_as_mosquitto_does() {
        for text in [
            "createClient",
            "deleteClient a b",
            "addRoleACL r wrong a allow",
            "addRoleACL r subscribeLiteral a perhaps",
        ] {
            assert_eq!(call(text), invalid(), "{text}");
        }
        assert_eq!(
            call("nonsense"),
            Err(Ended::Code(UNKNOWN, "Command 'nonsense' not recognised.\n".to_owned()))
        );
    }
}
