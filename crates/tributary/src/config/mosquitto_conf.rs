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

const PSK: &str = "pre-shared keys are not supported: use certificates";
const ENGINES: &str = "OpenSSL engines are not supported: give keyfile as PEM";
const ALWAYS_DURABLE: &str =
    "sessions, retained and queued messages are always on disk before they are acknowledged";

/// Every option of `mosquitto.conf(5)` 2.0, and of this broker's own for such a file, in one table.
pub const OPTIONS: &[(&str, Support)] = {
    use Support::{Honoured, Moot, Refused};
    &[
        ("acl_file", Honoured),
        ("address", Honoured),
        ("addresses", Honoured),
        ("allow_anonymous", Honoured),
        (
            "allow_duplicate_messages",
            Moot(
                "a client with overlapping subscriptions gets each message once, the later default of Mosquitto",
            ),
        ),
        ("allow_zero_length_clientid", Honoured),
        ("auth_opt_", Honoured),
        ("auth_plugin", Honoured),
        ("auth_plugin_deny_special_chars", Moot("names with + # or / never reach a pattern's other topics")),
        ("auto_id_prefix", Honoured),
        ("autosave_interval", Moot(ALWAYS_DURABLE)),
        ("autosave_on_changes", Moot(ALWAYS_DURABLE)),
        ("bind_address", Honoured),
        ("bind_interface", Refused("binding to an interface is not supported: give its address")),
        ("bridge_alpn", Honoured),
        ("bridge_attempt_unsubscribe", Honoured),
        ("bridge_bind_address", Honoured),
        ("bridge_cafile", Honoured),
        ("bridge_capath", Honoured),
        ("bridge_certfile", Honoured),
        ("bridge_identity", Refused(PSK)),
        ("bridge_insecure", Honoured),
        ("bridge_keyfile", Honoured),
        ("bridge_max_packet_size", Honoured),
        ("bridge_max_topic_alias", Moot("topics are sent as words")),
        ("bridge_outgoing_retain", Honoured),
        ("bridge_protocol_version", Honoured),
        ("bridge_psk", Refused(PSK)),
        ("bridge_reload_type", Moot("bridges change at a restart")),
        (
            "bridge_require_ocsp",
            Refused("OCSP is not asked for: use bridge_cafile with short-lived certificates"),
        ),
        ("bridge_session_expiry_interval", Honoured),
        ("bridge_tcp_keepalive", Honoured),
        (
            "bridge_tcp_user_timeout",
            Moot("a connection without an answer ends after one and a half keepalive_interval"),
        ),
        ("bridge_tls_version", Honoured),
        ("cafile", Honoured),
        ("capath", Honoured),
        ("certfile", Honoured),
        ("check_retain_source", Honoured),
        ("ciphers", Honoured),
        ("ciphers_tls1.3", Honoured),
        ("cleansession", Honoured),
        ("clientid", Honoured),
        ("clientid_prefixes", Honoured),
        ("connection", Honoured),
        ("connection_messages", Honoured),
        ("crlfile", Honoured),
        ("dhparamfile", Moot("keys are exchanged on elliptic curves only")),
        ("enable_proxy_protocol", Honoured),
        ("global_max_clients", Honoured),
        ("global_max_connections", Honoured),
        ("http_dir", Refused("files are not served over HTTP")),
        ("idle_timeout", Honoured),
        ("include_dir", Honoured),
        ("kafka_listener", Honoured),
        ("keepalive_interval", Honoured),
        ("keyfile", Honoured),
        ("listener", Honoured),
        ("local_cleansession", Honoured),
        ("local_clientid", Honoured),
        ("local_password", Moot("a bridge needs no rights on its own broker")),
        ("local_username", Moot("a bridge needs no rights on its own broker")),
        ("log_dest", Honoured),
        ("log_facility", Honoured),
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
        ("maximum_qos", Honoured),
        ("memory_limit", Moot("memory is bounded by the limits of each queue and connection")),
        ("message_size_limit", Honoured),
        ("mount_point", Honoured),
        ("notification_topic", Honoured),
        ("notifications", Honoured),
        ("notifications_local_only", Honoured),
        ("password", Honoured),
        ("password_file", Honoured),
        ("per_listener_settings", Honoured),
        ("persistence", Moot(ALWAYS_DURABLE)),
        ("persistence_file", Moot("there is one log for everything, in persistence_location")),
        ("persistence_location", Honoured),
        ("persistent_client_expiration", Honoured),
        ("pid_file", Honoured),
        ("plugin", Honoured),
        ("plugin_opt_", Honoured),
        ("port", Honoured),
        ("protocol", Honoured),
        ("psk_file", Refused(PSK)),
        ("psk_hint", Refused(PSK)),
        ("queue_qos0_messages", Moot("QoS 0 messages are not kept for sessions that are away")),
        ("remote_clientid", Honoured),
        ("remote_password", Honoured),
        ("remote_username", Honoured),
        ("require_certificate", Honoured),
        ("restart_timeout", Honoured),
        ("retain_available", Honoured),
        ("retain_expiry_interval", Refused("retained messages live as long as their publisher says")),
        ("round_robin", Honoured),
        ("set_tcp_nodelay", Moot("TCP_NODELAY is always on")),
        ("socket_domain", Honoured),
        ("start_type", Honoured),
        ("sys_interval", Honoured),
        ("threshold", Honoured),
        ("tls_engine", Refused(ENGINES)),
        ("tls_engine_kpass_sha1", Refused(ENGINES)),
        ("tls_keyform", Refused(ENGINES)),
        ("tls_version", Honoured),
        ("topic", Honoured),
        ("try_private", Honoured),
        ("upgrade_outgoing_qos", Honoured),
        ("use_identity_as_username", Honoured),
        ("use_subject_as_username", Honoured),
        ("use_username_as_clientid", Honoured),
        ("user", Moot("the process keeps the user it was started as")),
        ("username", Honoured),
        ("websockets_headers_size", Honoured),
        ("websockets_log_level", Moot("WebSocket has no log of its own")),
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

    /// The table of `docs/mosquitto-conf.md`.
    fn page_table() -> String {
        let row = |(name, support): &(&str, Support)| match support {
            Support::Honoured => format!("| `{name}` | honoured | |\n"),
            Support::Moot(why) => format!("| `{name}` | not used | {why} |\n"),
            Support::Refused(why) => format!("| `{name}` | refused | {why} |\n"),
        };
        OPTIONS.iter().map(row).collect()
    }

    #[test]
    fn the_page_says_what_the_table_says() {
        let page = include_str!("../../../../docs/mosquitto-conf.md");
        let table = page.split_once("|---|---|---|\n").map(|(_, t)| t).unwrap_or_default();
        assert!(table == page_table(), "docs/mosquitto-conf.md should end with:\n{}", page_table());
    }

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
        assert_eq!(support("auth_opt_backends"), Some(Support::Honoured));
        assert_eq!(support("no_such_key"), None);
    }
}
