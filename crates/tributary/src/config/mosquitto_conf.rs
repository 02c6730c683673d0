//! `mosquitto.conf(5)`: one `key value` a line, `#` comments, `include_dir`.

use std::path::{Path, PathBuf};

/// One line that sets something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Option name.
    pub key: String,
    /// All that follows it, trimmed.
    pub value: String,
    /// File it stands in.
    pub file: PathBuf,
    /// Line number, from 1.
    pub line: usize,
}

/// What this broker does with an option of Mosquitto's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Does what `mosquitto.conf(5)` says.
    Honoured,
    /// Taken and harmless: the reason is printed as a note.
    Moot(&'static str),
    /// Starting without it would do something else than the file asks for: refused, with the reason.
    Refused(&'static str),
}

const SECURITY: &str = "users, ACLs and TLS for MQTT are not in this version; starting without it would leave the broker more open than the file asks for";
const BRIDGES: &str = "bridge connections to other brokers are not in this version";
const WEBSOCKETS: &str = "WebSocket listeners are not in this version";
const ALWAYS_DURABLE: &str =
    "sessions, retained and queued messages are always on disk before they are acknowledged";

/// Every option of `mosquitto.conf(5)` 2.0, and of this broker's own for such a file, in one table.
pub const OPTIONS: &[(&str, Support)] = {
    use Support::{Honoured, Moot, Refused};
    &[
        ("acl_file", Refused(SECURITY)),
        ("address", Refused(BRIDGES)),
        ("addresses", Refused(BRIDGES)),
        ("allow_anonymous", Honoured),
        (
            "allow_duplicate_messages",
            Moot(
                "a client with overlapping subscriptions gets each message once, the later default of Mosquitto",
            ),
        ),
        ("allow_zero_length_clientid", Honoured),
        ("auth_opt_", Refused(SECURITY)),
        ("auth_plugin", Refused(SECURITY)),
        ("auth_plugin_deny_special_chars", Refused(SECURITY)),
        ("auto_id_prefix", Honoured),
        ("autosave_interval", Moot(ALWAYS_DURABLE)),
        ("autosave_on_changes", Moot(ALWAYS_DURABLE)),
        ("bind_address", Honoured),
        ("bind_interface", Refused("binding to an interface is not in this version; give its address")),
        ("cafile", Refused(SECURITY)),
        ("capath", Refused(SECURITY)),
        ("certfile", Refused(SECURITY)),
        ("check_retain_source", Moot("there are no ACLs that could change between publish and delivery")),
        ("ciphers", Refused(SECURITY)),
        ("clientid_prefixes", Refused(SECURITY)),
        ("connection", Refused(BRIDGES)),
        ("connection_messages", Honoured),
        ("crlfile", Refused(SECURITY)),
        ("dhparamfile", Refused(SECURITY)),
        ("http_dir", Refused(WEBSOCKETS)),
        ("include_dir", Honoured),
        ("kafka_listener", Honoured),
        ("keyfile", Refused(SECURITY)),
        ("listener", Honoured),
        ("log_dest", Honoured),
        ("log_facility", Moot("there is no syslog destination; use log_dest stderr under systemd")),
        ("log_timestamp", Honoured),
        ("log_timestamp_format", Moot("log lines carry RFC 3339 times")),
        ("log_type", Honoured),
        ("max_connections", Honoured),
        (
            "max_inflight_bytes",
            Moot("in-flight messages are bounded by max_inflight_messages and max_queued_bytes"),
        ),
        ("max_inflight_messages", Honoured),
        ("max_keepalive", Honoured),
        ("max_packet_size", Honoured),
        ("max_qos", Honoured),
        ("max_queued_bytes", Honoured),
        ("max_queued_messages", Honoured),
        ("max_topic_alias", Honoured),
        ("memory_limit", Moot("memory is bounded by the limits of each queue and connection")),
        (
            "message_size_limit",
            Refused("bounds of the payload alone are not in this version: use max_packet_size"),
        ),
        ("mount_point", Honoured),
        ("password_file", Refused(SECURITY)),
        ("per_listener_settings", Honoured),
        ("persistence", Moot(ALWAYS_DURABLE)),
        ("persistence_file", Moot("there is one log for everything, in persistence_location")),
        ("persistence_location", Honoured),
        ("persistent_client_expiration", Honoured),
        ("pid_file", Honoured),
        ("plugin", Refused(SECURITY)),
        ("plugin_opt_", Refused(SECURITY)),
        ("port", Honoured),
        ("protocol", Honoured),
        ("psk_file", Refused(SECURITY)),
        ("psk_hint", Refused(SECURITY)),
        ("queue_qos0_messages", Moot("QoS 0 messages are not kept for sessions that are away")),
        ("require_certificate", Refused(SECURITY)),
        ("retain_available", Honoured),
        ("set_tcp_nodelay", Moot("TCP_NODELAY is always on")),
        ("socket_domain", Honoured),
        ("sys_interval", Honoured),
        ("tls_engine", Refused(SECURITY)),
        ("tls_engine_kpass_sha1", Refused(SECURITY)),
        ("tls_keyform", Refused(SECURITY)),
        ("tls_version", Refused(SECURITY)),
        ("topic", Refused(BRIDGES)),
        ("upgrade_outgoing_qos", Refused("raising the QoS of deliveries is not in this version")),
        ("use_identity_as_username", Refused(SECURITY)),
        ("use_subject_as_username", Refused(SECURITY)),
        ("use_username_as_clientid", Honoured),
        ("user", Moot("the process keeps the user it was started as")),
        ("websockets_headers_size", Refused(WEBSOCKETS)),
        ("websockets_log_level", Refused(WEBSOCKETS)),
    ]
};

/// What this broker does with `key`; `None` for a name that Mosquitto does not know either.
pub fn support(key: &str) -> Option<Support> {
    OPTIONS
        .iter()
        .find(|(name, _)| *name == key || (name.ends_with('_') && key.starts_with(name)))
        .map(|(_, support)| *support)
}

/// Reads `path` and the `*.conf` files of each `include_dir`, in the order Mosquitto does (sorted by name).
///
/// # Errors
/// One line per problem: a file that cannot be read, an option without its value.
pub fn load(path: &Path) -> Result<Vec<Entry>, Vec<String>> {
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    load_into(path, 0, &mut entries, &mut problems);
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}

fn load_into(path: &Path, depth: usize, entries: &mut Vec<Entry>, problems: &mut Vec<String>) {
    if depth > 8 {
        problems.push(format!("{}: include_dir nested deeper than 8 levels", path.display()));
        return;
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) => return problems.push(format!("{}: cannot be read: {e}", path.display())),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return problems.push(format!("{}: is not UTF-8 text", path.display()));
    };
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let (number, value) = (index + 1, value.trim());
        if value.is_empty() {
            problems.push(format!("{}:{number}: {key}: a value is missing", path.display()));
        } else if key == "include_dir" {
            include(path, number, Path::new(value), depth, entries, problems);
        } else {
            entries.push(Entry { key: key.into(), value: value.into(), file: path.into(), line: number });
        }
    }
}

fn include(
    from: &Path,
    line: usize,
    dir: &Path,
    depth: usize,
    entries: &mut Vec<Entry>,
    problems: &mut Vec<String>,
) {
    let listing = std::fs::read_dir(dir).and_then(|d| d.collect::<Result<Vec<_>, _>>());
    match listing {
        Ok(listing) => {
            let mut files: Vec<PathBuf> = listing.iter().map(|e| e.path()).collect();
            files.retain(|p| p.extension().is_some_and(|e| e == "conf"));
            files.sort();
            for file in files {
                load_into(&file, depth + 1, entries, problems);
            }
        }
        Err(e) => {
            problems.push(format!("{}:{line}: include_dir {}: {e}", from.display(), dir.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_so_that_a_reader_finds_a_key() {
        assert!(OPTIONS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn reads_options_and_included_files_in_order() {
        let dir = tempfile::tempdir().expect("tempdir");
        let conf_d = dir.path().join("conf.d");
        std::fs::create_dir(&conf_d).expect("mkdir");
        std::fs::write(conf_d.join("b.conf"), "sys_interval 5\n").expect("write");
        std::fs::write(conf_d.join("a.conf"), "max_qos 1\n").expect("write");
        std::fs::write(conf_d.join("ignored.txt"), "nonsense\n").expect("write");
        let main = dir.path().join("m.conf");
        let text = format!(
            "# c\n\nlistener 1883 127.0.0.1\n  allow_anonymous\ttrue\ninclude_dir {}\n",
            conf_d.display()
        );
        std::fs::write(&main, text).expect("write");
        let got = load(&main).expect("loads");
        let got: Vec<_> = got.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(
            got,
            [
                ("listener", "1883 127.0.0.1", 3),
                ("allow_anonymous", "true", 4),
                ("max_qos", "1", 1),
                ("sys_interval", "5", 1)
            ]
        );
    }

    #[test]
    fn names_file_and_line_of_each_problem() {
        let dir = tempfile::tempdir().expect("tempdir");
        let main = dir.path().join("m.conf");
        std::fs::write(&main, "listener\nport 1\nmax_qos\n").expect("write");
        let problems = load(&main).expect_err("refused");
        assert_eq!(problems.len(), 2);
        assert!(problems[0].ends_with("m.conf:1: listener: a value is missing"), "{problems:?}");
        assert!(problems[1].ends_with("m.conf:3: max_qos: a value is missing"), "{problems:?}");
    }

    #[test]
    fn a_key_with_a_free_end_is_known_by_its_beginning() {
        assert!(matches!(support("auth_opt_backends"), Some(Support::Refused(_))));
        assert_eq!(support("no_such_key"), None);
    }
}
