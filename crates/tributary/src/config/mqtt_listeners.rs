//! MQTT's listeners while a configuration is read: rules of each, and the rules of all about users and rights.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mqtt::tls::TlsFiles;
use mqtt::{
    AclFile, DynamicRights, DynamicSecurity, DynamicUsers, ListenAddress, ListenerConfig, PasswordFile,
    Transport,
};

use super::mqtt_settings::{boolean, parse};
use super::sources::{Origin, Setting};
use super::{Draft, LOOPBACK, MQTT_PORT, listen};

/// Mosquitto's own plugin, known by the name of its library.
const DYNAMIC_SECURITY: &str = "mosquitto_dynamic_security";

/// Users and rights: of one listener with `per_listener_settings true`, else of all.
#[derive(Clone, Default)]
pub(super) struct SecurityDraft {
    allow_anonymous: Option<bool>,
    allow_zero_length_clientid: Option<bool>,
    auto_id_prefix: Option<String>,
    password_file: Option<(PathBuf, Origin)>,
    acl_file: Option<(PathBuf, Origin)>,
    /// Mosquitto's dynamic security is asked for: where that stands.
    dynamic_security: Option<Origin>,
    /// Its file.
    dynamic_security_file: Option<(PathBuf, Origin)>,
}

impl SecurityDraft {
    /// Takes a setting; `false` = it is none of these.
    pub(super) fn set(&mut self, setting: &Setting) -> Result<bool, String> {
        let value = setting.value.as_str();
        let file = || Some((PathBuf::from(value), setting.origin.clone()));
        match setting.key.as_str() {
            "allow_anonymous" => self.allow_anonymous = Some(boolean(value)?),
            "allow_zero_length_clientid" => self.allow_zero_length_clientid = Some(boolean(value)?),
            "auto_id_prefix" if value.len() > 50 => {
                return Err("is longer than 50 characters".to_owned());
            }
            "auto_id_prefix" => self.auto_id_prefix = Some(value.to_owned()),
            "password_file" => self.password_file = file(),
            "acl_file" => self.acl_file = file(),
            "plugin" | "auth_plugin" => {
                let name = Path::new(value).file_stem().and_then(|n| n.to_str());
                if name != Some(DYNAMIC_SECURITY) {
                    return Err(format!(
                        "{value}: plugins are C libraries and cannot be loaded; password_file, acl_file and \
                         {DYNAMIC_SECURITY} are built in"
                    ));
                }
                self.dynamic_security = Some(setting.origin.clone());
            }
            "plugin_opt_config_file" | "auth_opt_config_file" => self.dynamic_security_file = file(),
            other if other.starts_with("plugin_opt_") || other.starts_with("auth_opt_") => {
                return Err(format!("{DYNAMIC_SECURITY} has no such option"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads the files and gives it all to a listener.
    fn apply(&self, listener: &mut ListenerConfig, anonymous: bool, files: &mut Files, draft: &mut Draft) {
        // Who names users means that others stay out.
        let anonymous = anonymous && self.password_file.is_none() && self.dynamic_security.is_none();
        listener.allow_anonymous = self.allow_anonymous.unwrap_or(anonymous);
        listener.allow_zero_length_clientid = self.allow_zero_length_clientid.unwrap_or(true);
        if let Some(prefix) = &self.auto_id_prefix {
            listener.auto_id_prefix.clone_from(prefix);
        }
        if let Some((path, origin)) = &self.password_file {
            listener.authenticator = files.users(path, origin, draft).map(|f| f as _);
        }
        if let Some((path, origin)) = &self.acl_file {
            listener.authorizer = files.rights(path, origin, draft).map(|f| f as _);
        }
        let Some(asked) = &self.dynamic_security else {
            if let Some((_, origin)) = &self.dynamic_security_file {
                draft.problems.push(format!("{origin}: plugin_opt_config_file without plugin"));
            }
            return;
        };
        let Some((path, origin)) = &self.dynamic_security_file else {
            draft.problems.push(format!("{asked}: plugin: plugin_opt_config_file is missing"));
            return;
        };
        match DynamicSecurity::open(path) {
            Ok(dynamic) => {
                let users = DynamicUsers::new(dynamic.clone(), listener.authenticator.take());
                listener.authenticator = Some(Arc::new(users));
                let rights = DynamicRights::new(dynamic, listener.authorizer.take());
                listener.authorizer = Some(Arc::new(rights));
            }
            Err(error) => {
                draft.problems.push(format!("{origin}: plugin_opt_config_file: {} {error}", path.display()));
            }
        }
    }
}

/// Files that were read: each once, however many listeners name it.
#[derive(Default)]
struct Files {
    users: Vec<(PathBuf, Arc<PasswordFile>)>,
    rights: Vec<(PathBuf, Arc<AclFile>)>,
}

impl Files {
    fn users(&mut self, path: &Path, origin: &Origin, draft: &mut Draft) -> Option<Arc<PasswordFile>> {
        if let Some((_, known)) = self.users.iter().find(|(p, _)| p == path) {
            return Some(known.clone());
        }
        let text = read("password_file", path, origin, draft)?;
        let (file, wrong) = PasswordFile::parse(&text);
        for (line, why) in wrong {
            draft.notes.push(format!("{}:{line}: {why}; nobody is let in by this line", path.display()));
        }
        let file = Arc::new(file);
        self.users.push((path.into(), file.clone()));
        Some(file)
    }

    fn rights(&mut self, path: &Path, origin: &Origin, draft: &mut Draft) -> Option<Arc<AclFile>> {
        if let Some((_, known)) = self.rights.iter().find(|(p, _)| p == path) {
            return Some(known.clone());
        }
        let text = read("acl_file", path, origin, draft)?;
        match AclFile::parse(&text) {
            Ok(file) => {
                let file = Arc::new(file);
                self.rights.push((path.into(), file.clone()));
                Some(file)
            }
            Err(wrong) => {
                let lines = wrong.iter().map(|(line, why)| format!("{}:{line}: {why}", path.display()));
                draft.problems.extend(lines);
                None
            }
        }
    }
}

fn read(key: &str, path: &Path, origin: &Origin, draft: &mut Draft) -> Option<String> {
    let why = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => return Some(text),
        Ok(Err(_)) => "is not UTF-8 text".to_owned(),
        Err(e) => format!("cannot be read: {e}"),
    };
    draft.problems.push(format!("{origin}: {key}: {} {why}", path.display()));
    None
}

/// One listener on its way.
#[derive(Clone)]
pub(super) struct ListenerDraft {
    port: Option<u16>,
    host: Option<String>,
    unix: Option<PathBuf>,
    domain: Option<bool>,
    config: ListenerConfig,
    tls: TlsFiles,
    /// The first TLS option seen: there is TLS, or a file that is missing.
    tls_asked: Option<Setting>,
    pub(super) security: SecurityDraft,
    /// Something was said about it.
    pub(super) touched: bool,
}

impl ListenerDraft {
    pub(super) fn new() -> Self {
        Self {
            port: None,
            host: None,
            unix: None,
            domain: None,
            config: ListenerConfig::new(SocketAddr::new(LOOPBACK, MQTT_PORT)),
            tls: TlsFiles::default(),
            tls_asked: None,
            security: SecurityDraft::default(),
            touched: false,
        }
    }

    /// A listener of `serve`: `ADDR` or `unix:PATH`.
    pub(super) fn at(text: &str, transport: Transport, default_port: u16) -> Result<Self, String> {
        let mut draft = Self::new();
        draft.config.transport = transport;
        match text.strip_prefix("unix:") {
            Some(path) => draft.unix = Some(path.into()),
            None => {
                let (host, port) = listen::host_and_port(text, default_port)?;
                (draft.host, draft.port) = (Some(host), Some(port));
            }
        }
        Ok(draft)
    }

    /// `listener PORT [ADDRESS|PATH]`.
    pub(super) fn from_line(text: &str) -> Result<Self, String> {
        let mut draft = Self::new();
        draft.touched = true;
        let (port, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let port: u16 = parse(port, "a port, 0 to 65535")?;
        match rest.trim() {
            "" => {}
            path if port == 0 => draft.unix = Some(path.into()),
            host => draft.host = Some(host.to_owned()),
        }
        draft.port = Some(port);
        Ok(draft)
    }

    pub(super) fn set_port(&mut self, port: u16) {
        (self.port, self.touched) = (Some(port), true);
    }

    /// Whether a TLS option was given.
    pub(super) fn has_tls(&self) -> bool {
        self.tls_asked.is_some()
    }

    /// Takes a setting; `false` = no listener has it.
    pub(super) fn set(&mut self, setting: &Setting) -> Result<bool, String> {
        let value = setting.value.as_str();
        let path = || Some(PathBuf::from(value));
        let (config, tls) = (&mut self.config, &mut self.tls);
        let mut is_tls = true;
        match setting.key.as_str() {
            "cafile" => tls.ca_file = path(),
            "capath" => tls.ca_dir = path(),
            "certfile" => tls.certificate = value.into(),
            "keyfile" => tls.key = value.into(),
            "crlfile" => tls.crl_file = path(),
            "require_certificate" => tls.require_certificate = boolean(value)?,
            "ciphers" | "ciphers_tls1.3" => tls.ciphers.extend(value.split(':').map(str::to_owned)),
            "tls_version" => match value {
                "tlsv1.3" => tls.only_tls_1_3 = true,
                "tlsv1.2" => tls.only_tls_1_3 = false,
                "tlsv1.1" | "tlsv1" => return Err(format!("{value} is not safe and not supported")),
                _ => return Err(format!("{value:?} is not tlsv1.3 or tlsv1.2")),
            },
            _ => is_tls = false,
        }
        if is_tls {
            self.touched = true;
            self.tls_asked.get_or_insert_with(|| setting.clone());
            return Ok(true);
        }
        match setting.key.as_str() {
            "bind_address" => self.host = Some(value.to_owned()),
            "use_identity_as_username" => config.use_identity_as_username = boolean(value)?,
            "use_subject_as_username" => config.use_subject_as_username = boolean(value)?,
            "enable_proxy_protocol" => match value {
                // It says itself which version it is.
                "1" | "2" => config.proxy_protocol = true,
                _ => return Err(format!("{value:?} is not 1 or 2")),
            },
            "protocol" => match value {
                "mqtt" => config.transport = Transport::Mqtt,
                "websockets" => config.transport = Transport::WebSocket,
                _ => return Err(format!("{value:?} is not mqtt or websockets")),
            },
            "websockets_headers_size" => config.websocket_header_max = parse(value, "bytes")?,
            "socket_domain" => match value {
                "ipv4" => self.domain = Some(false),
                "ipv6" => self.domain = Some(true),
                _ => return Err(format!("{value:?} is not ipv4 or ipv6")),
            },
            "max_connections" => {
                let n: i64 = parse(value, "a count, or -1 for no limit")?;
                config.max_connections = usize::try_from(n).ok();
            }
            "max_qos" | "maximum_qos" => {
                config.max_qos = parse(value, "0, 1 or 2")?;
                if config.max_qos > 2 {
                    return Err(format!("{value} is not 0, 1 or 2"));
                }
            }
            "max_topic_alias" => config.max_topic_alias = parse(value, "a count, 0 to 65535")?,
            "mount_point" => config.mount_point = Some(value.to_string()),
            "use_username_as_clientid" => config.use_username_as_clientid = boolean(value)?,
            _ => return Ok(false),
        }
        self.touched = true;
        Ok(true)
    }

    /// The address, where nothing was said about it `any` = every interface.
    fn address(&self, any: bool) -> Result<ListenAddress, String> {
        if let Some(path) = &self.unix {
            return Ok(ListenAddress::Unix(path.clone()));
        }
        let port = self.port.unwrap_or(MQTT_PORT);
        let address = match (&self.host, any, self.domain) {
            (Some(host), ..) => listen::resolve_host_in(host, port, self.domain)?,
            (None, true, Some(true)) => SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port),
            (None, true, _) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            (None, false, _) => SocketAddr::new(LOOPBACK, port),
        };
        Ok(ListenAddress::Tcp(address))
    }

    fn finish(mut self, any: bool, draft: &mut Draft) -> Option<ListenerConfig> {
        match self.address(any) {
            Ok(address) => self.config.address = address,
            Err(why) => {
                draft.problems.push(format!("listener: {why}"));
                return None;
            }
        }
        if let Some(asked) = &self.tls_asked {
            let has = |path: &Path| !path.as_os_str().is_empty();
            match (has(&self.tls.certificate), has(&self.tls.key)) {
                (true, true) => self.config.tls = Some(self.tls.clone()),
                (cert, key) => {
                    let missing = match (cert, key) {
                        (false, false) => "certfile and keyfile are missing",
                        (true, _) => "keyfile is missing",
                        _ => "certfile is missing",
                    };
                    draft.problems.push(format!("{}: {}: {missing}", asked.origin, asked.key));
                }
            }
            if let Some(Err(error)) = self.config.tls.as_ref().map(TlsFiles::load) {
                draft.problems.push(format!("{}: {error}", asked.origin));
            }
        }
        let by_certificate = self.config.use_identity_as_username || self.config.use_subject_as_username;
        if by_certificate && !self.config.tls.as_ref().is_some_and(|t| t.require_certificate) {
            draft.notes.push(format!(
                "MQTT listener {}: names come from certificates, and require_certificate is not true: every client is \
                 refused",
                self.config.address
            ));
        }
        Some(self.config)
    }
}

/// All listeners with their users and rights. `shared` are the rules of all; `None` = each has its own. `anonymous`
/// says whether clients without a name may come in where nothing was said.
pub(super) fn finish(
    listeners: Vec<ListenerDraft>,
    shared: Option<&SecurityDraft>,
    any: bool,
    anonymous: bool,
    draft: &mut Draft,
) -> Vec<ListenerConfig> {
    let mut files = Files::default();
    // Their mistakes are said even when those of addresses leave no listener.
    if let Some(shared) = shared {
        shared.apply(&mut ListenerDraft::new().config, anonymous, &mut files, draft);
    }
    let mut finished = Vec::new();
    for listener in listeners {
        let security = shared.unwrap_or(&listener.security).clone();
        let Some(mut config) = listener.finish(any, draft) else { continue };
        security.apply(&mut config, anonymous, &mut files, draft);
        finished.push(config);
    }
    // Once is enough for what all listeners share.
    let mut seen = std::collections::HashSet::new();
    draft.problems.retain(|p| seen.insert(p.clone()));
    finished
}
