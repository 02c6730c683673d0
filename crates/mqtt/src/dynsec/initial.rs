//! A new file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::DynamicSecurity;
use super::clients::ITERATIONS;
use super::json::Json;
use crate::auth::{Hashing, PasswordHash};

/// What the administrator's role allows: commands, and seeing everything.
const RIGHTS: [(&str, &str); 8] = [
    ("publishClientSend", "$CONTROL/dynamic-security/#"),
    ("publishClientReceive", "$CONTROL/dynamic-security/#"),
    ("subscribePattern", "$CONTROL/dynamic-security/#"),
    ("publishClientReceive", "$SYS/#"),
    ("subscribePattern", "$SYS/#"),
    ("publishClientReceive", "#"),
    ("subscribePattern", "#"),
    ("unsubscribePattern", "#"),
];

impl DynamicSecurity {
    /// The content of a file with one user, who may give commands: what `mosquitto_ctrl dynsec init` writes.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn initial_file(admin: &str, password: &str) -> Result<String, getrandom::Error> {
        let hash = PasswordHash::new(password.as_bytes(), Hashing::Pbkdf2(ITERATIONS))?;
        let mut client = vec![("username", admin.into()), ("textName", Json::from("Dynsec admin user"))];
        if let Some((rounds, salt, hash)) = hash.pbkdf2() {
            client.push(("password", Json::Text(STANDARD.encode(hash))));
            client.push(("salt", Json::Text(STANDARD.encode(salt))));
            client.push(("iterations", Json::Number(rounds.get().into())));
        }
        client.push(("roles", Json::List(vec![Json::Object(vec![("rolename", "admin".into())])])));
        let right = |(kind, topic): (&str, &str)| {
            Json::Object(vec![("acltype", kind.into()), ("topic", topic.into()), ("allow", Json::Bool(true))])
        };
        let acls = Json::List(RIGHTS.into_iter().map(right).collect());
        let role = Json::Object(vec![("rolename", "admin".into()), ("acls", acls)]);
        let access = vec![
            ("publishClientSend", Json::Bool(false)),
            ("publishClientReceive", Json::Bool(true)),
            ("subscribe", Json::Bool(false)),
            ("unsubscribe", Json::Bool(true)),
        ];
        let file = Json::Object(vec![
            ("clients", Json::List(vec![Json::Object(client)])),
            ("roles", Json::List(vec![role])),
            ("defaultACLAccess", Json::Object(access)),
        ]);
        Ok(file.pretty())
    }
}
