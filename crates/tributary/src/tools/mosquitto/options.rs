//! The command line of `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr`, and their option files.

use std::path::PathBuf;

use bytes::Bytes;
use mqtt_codec::{ProtocolVersion, QoS, topic};

use super::property::{Command, Definition, Kind, PropertyList, Value};
use super::tls::TlsOptions;
use super::{format, number};

/// The largest payload that fits into a packet, in bytes.
pub const PAYLOAD_MAX: usize = 268_435_455;

/// Which of the tools runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `mosquitto_pub`
    Publish,
    /// `mosquitto_sub`
    Subscribe,
    /// `mosquitto_rr`
    Request,
    /// `mosquitto_ctrl`
    Control,
}

impl Tool {
    /// The name it is called by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "mosquitto_pub",
            Self::Subscribe => "mosquitto_sub",
            Self::Request => "mosquitto_rr",
            Self::Control => "mosquitto_ctrl",
        }
    }
}

/// Where the message to publish comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `-m`
    Text(Bytes),
    /// `-f`
    File(String),
    /// `-s`: all of standard input.
    Stdin,
    /// `-l`: each line of standard input.
    Lines,
    /// `-n`
    Nothing,
}

/// Why the command line is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// Something is wrong: the text for standard error.
    Wrong(String),
}

/// Everything the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tool.
    pub tool: Tool,
    /// `-h`, or the path given with `--unix`.
    pub host: String,
    /// `-p`; 0 means a Unix socket at `host`.
    pub port: Option<u16>,
    /// `-A`
    pub bind_address: Option<String>,
    /// `--nodelay`
    pub nodelay: bool,
    /// `-i`
    pub id: Option<String>,
    /// `-I`
    pub id_prefix: Option<String>,
    /// `-u`
    pub user_name: Option<String>,
    /// `-P`
    pub password: Option<String>,
    /// `-k`, seconds
    pub keep_alive: u16,
    /// Not `-c`
    pub clean: bool,
    /// `-x`, seconds
    pub session_expiry: Option<u32>,
    /// `-V`
    pub version: ProtocolVersion,
    /// `-M`
    pub inflight_max: u32,
    /// `-q`
    pub qos: QoS,
    /// `-r`
    pub retain: bool,
    /// `-t` of pub and rr
    pub topic: Option<String>,
    /// `-e`
    pub response_topic: Option<String>,
    /// `-t` of sub
    pub topics: Vec<String>,
    /// `-T`
    pub filter_out: Vec<String>,
    /// `-U`
    pub unsubscribe: Vec<String>,
    /// `-m -f -s -l -n`
    pub source: Option<Source>,
    /// `--repeat`
    pub repeat: u32,
    /// `--repeat-delay`, microseconds
    pub repeat_delay_us: u64,
    /// `--will-topic`
    pub will_topic: Option<String>,
    /// `--will-payload`
    pub will_payload: Option<String>,
    /// `--will-qos`
    pub will_qos: QoS,
    /// `--will-retain`
    pub will_retain: bool,
    /// `-C`
    pub message_count: Option<u32>,
    /// `-W`, seconds
    pub timeout: Option<u32>,
    /// `-E`
    pub exit_after_subscribe: bool,
    /// `-F`
    pub format: Option<String>,
    /// Not `-N`
    pub end_of_line: bool,
    /// `-v`
    pub verbose: bool,
    /// `--pretty`
    pub pretty: bool,
    /// `-R`
    pub no_retain: bool,
    /// `--retained-only`
    pub retained_only: bool,
    /// `--remove-retained`
    pub remove_retained: bool,
    /// `--retain-as-published`
    pub retain_as_published: bool,
    /// `--random-filter`: messages of 10,000 to print.
    pub random_filter: u32,
    /// `-d`
    pub debug: bool,
    /// `--quiet`
    pub quiet: bool,
    /// `-D connect …`
    pub connect_properties: PropertyList,
    /// `-D publish …`
    pub publish_properties: PropertyList,
    /// `-D subscribe …`
    pub subscribe_properties: PropertyList,
    /// `-D unsubscribe …`
    pub unsubscribe_properties: PropertyList,
    /// `-D disconnect …`
    pub disconnect_properties: PropertyList,
    /// `-D will …`
    pub will_properties: PropertyList,
    /// `--cafile --cert …`
    pub tls: TlsOptions,
    /// `--ws`: MQTT in WebSocket
    pub websocket: bool,
    /// `--ws-path`
    pub websocket_path: String,
    /// An option that asks for what we do not have (pre-shared keys, proxies).
    unsupported: Option<String>,
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(text.into()))
}

/// The arguments behind an option.
struct Arguments<'a> {
    list: &'a [String],
    at: usize,
}

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let argument = self.list.get(self.at)?;
        self.at += 1;
        Some(argument)
    }

    /// The value of an option; `what` is its description in the error, such as `-h argument given but no host`.
    fn value(&mut self, what: &str) -> Result<&'a str, Stop> {
        self.next().map_or_else(|| wrong(format!("Error: {what} specified.\n\n")), Ok)
    }
}

impl Options {
    /// Reads the option file, then the command line (without the program's name).
    ///
    /// # Errors
    /// [`Stop`]
    pub fn load(tool: Tool, args: &[String]) -> Result<Self, Stop> {
        let mut options = Self::new(tool);
        if let Some(text) = option_file(tool).and_then(|path| std::fs::read(path).ok()) {
            for line in file_lines(&String::from_utf8_lossy(&text)) {
                options.read(&line)?;
            }
        }
        options.read(args)?;
        options.finish()
    }

    fn new(tool: Tool) -> Self {
        let request = tool == Tool::Request;
        Self {
            tool,
            host: "localhost".into(),
            port: None,
            bind_address: None,
            nodelay: false,
            id: None,
            id_prefix: None,
            user_name: None,
            password: None,
            keep_alive: 60,
            clean: true,
            session_expiry: None,
            version: if request || tool == Tool::Control {
                ProtocolVersion::V5
            } else {
                ProtocolVersion::V311
            },
            inflight_max: 20,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: None,
            response_topic: None,
            topics: Vec::new(),
            filter_out: Vec::new(),
            unsubscribe: Vec::new(),
            source: None,
            repeat: 1,
            repeat_delay_us: 0,
            will_topic: None,
            will_payload: None,
            will_qos: QoS::AtMostOnce,
            will_retain: false,
            message_count: request.then_some(1),
            timeout: None,
            exit_after_subscribe: false,
            format: None,
            end_of_line: true,
            verbose: false,
            pretty: false,
            no_retain: false,
            retained_only: false,
            remove_retained: false,
            retain_as_published: false,
            random_filter: 10_000,
            debug: false,
            quiet: false,
            connect_properties: PropertyList::default(),
            publish_properties: PropertyList::default(),
            subscribe_properties: PropertyList::default(),
            unsubscribe_properties: PropertyList::default(),
            disconnect_properties: PropertyList::default(),
            will_properties: PropertyList::default(),
            tls: TlsOptions::default(),
            websocket: false,
            websocket_path: "/mqtt".into(),
            unsupported: None,
        }
    }

    fn read(&mut self, list: &[String]) -> Result<(), Stop> {
        let mut args = Arguments { list, at: 0 };
        while let Some(option) = args.next() {
            let known = self.read_connection(option, &mut args)?
                || self.read_message(option, &mut args)?
                || self.read_subscription(option, &mut args)?
                || self.read_tls(option, &mut args)?
                || self.read_unsupported(option, &mut args)?;
            if !known {
                return wrong(format!("Error: Unknown option '{option}'.\n"));
            }
        }
        Ok(())
    }

    /// Options about the connection, which all three tools have.
    fn read_connection(&mut self, option: &str, args: &mut Arguments<'_>) -> Result<bool, Stop> {
        match option {
            "-A" => self.bind_address = Some(args.value("-A argument given but no address")?.into()),
            "-c" | "--disable-clean-session" => self.clean = false,
            "-d" | "--debug" => self.debug = true,
            "-D" | "--property" => self.read_property(args)?,
            "--help" => return Err(Stop::Help),
            "--version" => return Err(Stop::Version),
            "-h" | "--host" => self.host = args.value("-h argument given but no host")?.into(),
            "-i" | "--id" => {
                if self.id_prefix.is_some() {
                    return wrong("Error: -i and -I argument cannot be used together.\n\n");
                }
                self.id = Some(args.value("-i argument given but no id")?.into());
            }
            "-I" | "--id-prefix" => {
                if self.id.is_some() {
                    return wrong("Error: -i and -I argument cannot be used together.\n\n");
                }
                self.id_prefix = Some(args.value("-I argument given but no id prefix")?.into());
            }
            "-k" | "--keepalive" => {
                let seconds = number::integer(args.value("-k argument given but no keepalive")?);
                self.keep_alive = match u16::try_from(seconds) {
                    Ok(seconds) if seconds >= 5 => seconds,
                    _ => {
                        let range = "it must be between 5 and 65535 inclusive";
                        return wrong(format!("Error: Invalid keepalive given, {range}.\n\n"));
                    }
                };
            }
            "-L" | "--url" => {
                let url = args.value("-L argument given but no URL")?;
                self.read_url(url)?;
            }
            "-M" => {
                let n = number::integer(args.value("-M argument given but max_inflight not")?);
                if n < 1 {
                    return wrong("Error: Maximum inflight messages must be greater than 0.\n\n");
                }
                self.inflight_max = n.unsigned_abs();
            }
            "--nodelay" => self.nodelay = true,
            "-p" | "--port" => {
                let port = number::integer(args.value("-p argument given but no port")?);
                let Ok(port) = u16::try_from(port) else {
                    return wrong(format!("Error: Invalid port given: {port}\n"));
                };
                self.port = Some(port);
            }
            "-P" | "--pw" => self.password = Some(args.value("-P argument given but no password")?.into()),
            "-q" | "--qos" => {
                let n = number::integer(args.value("-q argument given but no QoS")?);
                let Some(qos) = u8::try_from(n).ok().and_then(QoS::from_u8) else {
                    return wrong(format!("Error: Invalid QoS given: {n}\n"));
                };
                self.qos = qos;
            }
            "--quiet" => self.quiet = true,
            "-t" | "--topic" => {
                let topic = args.value("-t argument given but no topic")?;
                self.add_topic(topic, "-t")?;
            }
            "-u" | "--username" => {
                self.user_name = Some(args.value("-u argument given but no username")?.into());
            }
            "--unix" => {
                self.host = args.value("--unix argument given but no socket path")?.into();
                self.port = Some(0);
            }
            "-V" | "--protocol-version" => {
                self.version = match args.value("--protocol-version argument given but no version")? {
                    "mqttv31" | "31" => ProtocolVersion::V31,
                    "mqttv311" | "311" => ProtocolVersion::V311,
                    "mqttv5" | "5" => ProtocolVersion::V5,
                    _ => return wrong("Error: Invalid protocol version argument given.\n\n"),
                };
            }
            "--will-payload" => {
                self.will_payload =
                    Some(args.value("--will-payload argument given but no will payload")?.into());
            }
            "--will-qos" => {
                let n = number::integer(args.value("--will-qos argument given but no will QoS")?);
                let Some(qos) = u8::try_from(n).ok().and_then(QoS::from_u8) else {
                    return wrong(format!("Error: Invalid will QoS {n}.\n\n"));
                };
                self.will_qos = qos;
            }
            "--will-retain" => self.will_retain = true,
            "--will-topic" => {
                let topic = args.value("--will-topic argument given but no will topic")?;
                check_text(topic, "--will-topic", "\n\n")?;
                check_name(topic, "will")?;
                self.will_topic = Some(topic.into());
            }
            "-x" => {
                let text = args.value("-x argument given but no session expiry interval")?;
                self.session_expiry = Some(session_expiry(text)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options about the message to send.
    fn read_message(&mut self, option: &str, args: &mut Arguments<'_>) -> Result<bool, Stop> {
        if self.tool == Tool::Subscribe {
            return Ok(false);
        }
        let publish = self.tool == Tool::Publish;
        match option {
            "-e" if !publish => {
                let topic = args.value("-e argument given but no response topic")?;
                check_text(topic, "-e", "\n\n")?;
                check_name(topic, "response")?;
                self.response_topic = Some(topic.into());
            }
            "-f" | "--file" => {
                self.check_first_source()?;
                self.source = Some(Source::File(args.value("-f argument given but no file")?.into()));
            }
            "-l" | "--stdin-line" if publish => {
                self.check_first_source()?;
                self.source = Some(Source::Lines);
            }
            "-m" | "--message" => {
                self.check_first_source()?;
                let text = args.value("-m argument given but no message")?;
                if text.len() > PAYLOAD_MAX {
                    return wrong(format!(
                        "Error: Message length must be less than {PAYLOAD_MAX} bytes.\n\n"
                    ));
                }
                self.source = Some(Source::Text(Bytes::copy_from_slice(text.as_bytes())));
            }
            "-n" | "--null-message" => {
                self.check_first_source()?;
                self.source = Some(Source::Nothing);
            }
            "-r" | "--retain" if publish => self.retain = true,
            "--repeat" if publish => {
                let n = number::integer(args.value("--repeat argument given but no count")?);
                if n < 1 {
                    return wrong("Error: --repeat argument must be >0.\n\n");
                }
                self.repeat = n.unsigned_abs();
            }
            "--repeat-delay" if publish => {
                let seconds = number::decimal(args.value("--repeat-delay argument given but no time")?);
                if seconds < 0.0 {
                    return wrong("Error: --repeat-delay argument must be >=0.0.\n\n");
                }
                self.repeat_delay_us = (seconds * 1e6) as u64;
            }
            "-s" | "--stdin-file" => {
                self.check_first_source()?;
                self.source = Some(Source::Stdin);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options about what is received and how it is shown.
    fn read_subscription(&mut self, option: &str, args: &mut Arguments<'_>) -> Result<bool, Stop> {
        if self.tool == Tool::Publish {
            return Ok(false);
        }
        let subscribe = self.tool == Tool::Subscribe;
        match option {
            "-C" if subscribe => {
                let n = number::integer(args.value("-C argument given but no count")?);
                if n < 1 {
                    return wrong(format!("Error: Invalid message count \"{n}\".\n\n"));
                }
                self.message_count = Some(n.unsigned_abs());
            }
            "-E" if subscribe => self.exit_after_subscribe = true,
            "-F" => {
                let text = args.value("-F argument given but no format")?;
                format::check(text).map_err(Stop::Wrong)?;
                self.format = Some(text.into());
            }
            "-N" => self.end_of_line = false,
            "--pretty" => self.pretty = true,
            "-R" => self.no_retain = true,
            "--random-filter" if subscribe => {
                let percent = number::decimal(args.value("--random-filter argument given but no chance")?);
                let chance = (percent * 100.0) as i64;
                if !(10..=10_000).contains(&chance) {
                    return wrong("Error: --random-filter chance must be between 0.1-100.0\n\n");
                }
                self.random_filter = u32::try_from(chance).unwrap_or(10_000);
            }
            "--remove-retained" if subscribe => self.remove_retained = true,
            "--retain-as-published" => self.retain_as_published = true,
            "--retained-only" if subscribe => self.retained_only = true,
            "-T" | "--filter-out" if subscribe => {
                let filter = args.value("-T argument given but no topic filter")?;
                check_text(filter, "-T", "\n\n")?;
                check_filter(filter, "filter")?;
                self.filter_out.push(filter.into());
            }
            "-U" | "--unsubscribe" if subscribe => {
                let filter = args.value("-U argument given but no unsubscribe topic")?;
                check_text(filter, "-U", "\n\n")?;
                check_filter(filter, "unsubscribe")?;
                self.unsubscribe.push(filter.into());
            }
            "-v" | "--verbose" => self.verbose = true,
            "-W" => {
                let seconds = number::integer(args.value("-W argument given but no timeout")?);
                if seconds < 1 {
                    return wrong(format!("Error: Invalid timeout \"{seconds}\".\n\n"));
                }
                self.timeout = Some(seconds.unsigned_abs());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options about TLS and WebSocket.
    fn read_tls(&mut self, option: &str, args: &mut Arguments<'_>) -> Result<bool, Stop> {
        let mut value = |what: &str| args.value(&format!("{option} argument given but no {what}"));
        match option {
            "--cafile" => self.tls.ca_file = Some(value("file")?.into()),
            "--capath" => self.tls.ca_path = Some(value("directory")?.into()),
            "--cert" => self.tls.certificate = Some(value("file")?.into()),
            "--ciphers" => self.tls.ciphers = value("ciphers")?.split(':').map(String::from).collect(),
            "--insecure" => self.tls.insecure = true,
            "--key" => self.tls.key = Some(value("file")?.into()),
            "--tls-alpn" => self.tls.alpn = Some(value("protocol")?.into()),
            "--tls-use-os-certs" => self.tls.os_certificates = true,
            "--tls-version" => match value("version")? {
                "tlsv1.3" => self.tls.only_tls_1_3 = true,
                "tlsv1.2" => self.tls.only_tls_1_3 = false,
                other => {
                    return wrong(format!("Error: Invalid TLS version \"{other}\" (tlsv1.3 or tlsv1.2).\n"));
                }
            },
            "--ws" => self.websocket = true,
            "--ws-path" => {
                let path = value("path")?;
                if !path.starts_with('/') || path.contains([' ', '\r', '\n']) {
                    return wrong("Error: --ws-path must begin with / and hold no blanks.\n");
                }
                self.websocket_path = path.into();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options that are understood and not carried out.
    fn read_unsupported(&mut self, option: &str, args: &mut Arguments<'_>) -> Result<bool, Stop> {
        let (what, kind) = match option {
            "--keyform" => ("keyform", "keys of engines are"),
            "--psk" => ("key", "TLS with a pre-shared key is"),
            "--psk-identity" => ("identity", "TLS with a pre-shared key is"),
            "--tls-engine" => ("engine_id", "an OpenSSL engine is"),
            "--tls-engine-kpass-sha1" => ("kpass sha1", "an OpenSSL engine is"),
            "--proxy" => ("proxy url", "SOCKS is"),
            _ => return Ok(false),
        };
        args.value(&format!("{option} argument given but no {what}"))?;
        self.unsupported = Some(format!("Error: {option}: {kind} not supported.\n"));
        Ok(true)
    }

    /// The port to connect to; 0 means a Unix socket.
    pub fn port_or_default(&self) -> u16 {
        let default = match (self.websocket, self.tls.is_on()) {
            (false, false) => 1883,
            (false, true) => 8883,
            (true, false) => 80,
            (true, true) => 443,
        };
        self.port.unwrap_or(default)
    }

    fn check_first_source(&self) -> Result<(), Stop> {
        if self.source.is_some() {
            return wrong("Error: Only one type of message can be sent at once.\n\n");
        }
        Ok(())
    }

    fn add_topic(&mut self, topic: &str, option: &str) -> Result<(), Stop> {
        check_text(topic, option, "\n\n")?;
        if self.tool == Tool::Subscribe {
            check_filter(topic, "subscription")?;
            self.topics.push(topic.into());
        } else {
            check_name(topic, "publish")?;
            self.topic = Some(topic.into());
        }
        Ok(())
    }

    /// `mqtt://[user[:password]@]host[:port]/topic`; `mqtts`, `ws` and `wss` as well
    fn read_url(&mut self, url: &str) -> Result<(), Stop> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (port, websocket, with_tls) = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" => (1883, false, false),
            "mqtts" => (8883, false, true),
            "ws" => (80, true, false),
            "wss" => (443, true, true),
            _ => return wrong("Error: unsupported URL scheme.\n\n"),
        };
        self.websocket |= websocket;
        self.tls.os_certificates |= with_tls;
        let Some((authority, topic)) = rest.split_once('/') else {
            return wrong("Error: Invalid URL for -L argument specified - topic missing.\n");
        };
        self.add_topic(topic, "-L topic")?;
        let address = match authority.split_once('@') {
            Some((user, address)) => {
                match user.split_once(':') {
                    Some((name, password)) => {
                        self.password = Some(password.into());
                        self.user_name = Some(name.into());
                    }
                    None => self.user_name = Some(user.into()),
                }
                address
            }
            None => authority,
        };
        self.port = Some(port);
        self.host = match address.split_once(':') {
            Some((host, port)) => {
                self.port = u16::try_from(number::integer(port)).ok();
                host.into()
            }
            None => address.into(),
        };
        Ok(())
    }

    /// `-D command property value`, or `-D command user-property name value`.
    fn read_property(&mut self, args: &mut Arguments<'_>) -> Result<(), Stop> {
        let missing =
            || Stop::Wrong("Error: --property argument given but not enough arguments specified.\n\n".into());
        let (Some(command_name), Some(name), Some(first)) = (args.next(), args.next(), args.next()) else {
            return Err(missing());
        };
        let Some(command) = Command::parse(command_name) else {
            return wrong("Error: Invalid command given in --property argument.\n\n");
        };
        let Some(definition) = Definition::find(name) else {
            return wrong("Error: Invalid property name given in --property argument.\n\n");
        };
        if !definition.allowed_in(command) {
            return wrong(format!(
                "Error: {name} property not allowed for {command_name} in --property argument.\n\n"
            ));
        }
        let value = match definition.kind {
            Kind::Pair => Value::Pair(first.into(), args.next().ok_or_else(missing)?.into()),
            Kind::Text => Value::Text(first.into()),
            Kind::Binary if first.len() > usize::from(u16::MAX) => {
                return wrong(format!("Error: Property value too long for property {name}.\n\n"));
            }
            Kind::Binary => Value::Binary(Bytes::copy_from_slice(first.as_bytes())),
            Kind::Byte | Kind::Short | Kind::Long | Kind::Varint => {
                let max = match definition.kind {
                    Kind::Byte => u32::from(u8::MAX),
                    Kind::Short => u32::from(u16::MAX),
                    _ => u32::MAX,
                };
                let n = number::long(first);
                match u32::try_from(n).ok().filter(|n| *n <= max) {
                    Some(n) => Value::Number(n),
                    None => {
                        return wrong(format!(
                            "Error: Property value ({n}) out of range for property {name}.\n\n"
                        ));
                    }
                }
            }
        };
        let supported = match command {
            Command::Publish => definition.name != "subscription-identifier",
            Command::Ack | Command::Auth | Command::Connack => false,
            _ => true,
        };
        let list = match command {
            Command::Connect => &mut self.connect_properties,
            Command::Publish => &mut self.publish_properties,
            Command::Subscribe => &mut self.subscribe_properties,
            Command::Unsubscribe => &mut self.unsubscribe_properties,
            Command::Disconnect => &mut self.disconnect_properties,
            _ => &mut self.will_properties,
        };
        if !supported {
            return wrong(format!(
                "Error: {name} property not supported for {command_name} in --property argument.\n\n"
            ));
        }
        list.push(definition.id, value);
        self.version = ProtocolVersion::V5;
        Ok(())
    }

    /// Checks what only the whole of the options can tell.
    fn finish(mut self) -> Result<Self, Stop> {
        if self.will_payload.is_some() && self.will_topic.is_none() {
            return wrong("Error: Will payload given, but no will topic given.\n");
        }
        if self.will_retain && self.will_topic.is_none() {
            return wrong("Error: Will retain given, but no will topic given.\n");
        }
        if let Some(text) = self.unsupported.take() {
            return wrong(text);
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return wrong("Error: Both certfile and keyfile must be provided if one of them is set.\n");
        }
        // As with Mosquitto: the port of TLS and roots of the client's own replace those of the system.
        let own_roots = self.tls.ca_file.is_some() || self.tls.ca_path.is_some();
        self.tls.os_certificates |= self.port == Some(8883);
        self.tls.os_certificates &= !own_roots;
        if self.version == ProtocolVersion::V5 {
            if !self.clean && self.session_expiry.is_none() {
                self.session_expiry = Some(u32::MAX);
            }
            if self.session_expiry == Some(u32::MAX) && self.id.is_none() {
                let when = "if you are using an infinite session expiry interval";
                return wrong(format!("Error: You must provide a client id {when}.\n"));
            }
            if let Some(seconds) = self.session_expiry.filter(|s| *s > 0) {
                self.connect_properties.push(17, Value::Number(seconds));
            }
        } else if !self.clean && self.id.is_none() {
            return wrong("Error: You must provide a client id if you are using the -c option.\n");
        }
        if self.tool == Tool::Subscribe && self.topics.is_empty() {
            return wrong("Error: You must specify a topic to subscribe to.\n");
        }
        for (name, list, command) in [
            ("CONNECT", &self.connect_properties, Command::Connect),
            ("PUBLISH", &self.publish_properties, Command::Publish),
            ("SUBSCRIBE", &self.subscribe_properties, Command::Subscribe),
            ("UNSUBSCRIBE", &self.unsubscribe_properties, Command::Unsubscribe),
            ("DISCONNECT", &self.disconnect_properties, Command::Disconnect),
            ("Will", &self.will_properties, Command::Will),
        ] {
            if let Err(failure) = list.check(command) {
                let text = format!("Error in {name} properties: {}\n", failure.text());
                return wrong(if self.quiet { String::new() } else { text });
            }
        }
        if let Some(prefix) = &self.id_prefix {
            self.id = Some(format!("{prefix}{}", std::process::id()));
        }
        Ok(self)
    }
}

/// `-x`: seconds, or -1 or ∞ for a session without end.
fn session_expiry(text: &str) -> Result<u32, Stop> {
    if text == "∞" {
        return Ok(u32::MAX);
    }
    match number::any_base(text) {
        None => wrong("Error: session-expiry-interval not a number.\n\n"),
        Some(-1) => Ok(u32::MAX),
        Some(n) => {
            u32::try_from(n).map_or_else(|_| wrong("Error: session-expiry-interval out of range.\n\n"), Ok)
        }
    }
}

/// What libmosquitto accepts as text: no control characters and no non-characters.
fn check_text(text: &str, option: &str, end: &str) -> Result<(), Stop> {
    let bad = |c: char| {
        let n = u32::from(c);
        c.is_control()
            || (0xFDD0..=0xFDEF).contains(&n)
            || n & 0xFFFE == 0xFFFE
            || c == char::REPLACEMENT_CHARACTER
    };
    if text.chars().any(bad) {
        return wrong(format!("Error: Malformed UTF-8 in {option} argument.{end}"));
    }
    Ok(())
}

fn check_name(name: &str, what: &str) -> Result<(), Stop> {
    match topic::validate_name(name) {
        Ok(()) | Err(topic::TopicError::Empty) => Ok(()),
        Err(_) => wrong(format!("Error: Invalid {what} topic '{name}', does it contain '+' or '#'?\n")),
    }
}

fn check_filter(filter: &str, what: &str) -> Result<(), Stop> {
    match topic::validate_unshared_filter(filter) {
        Ok(()) => Ok(()),
        Err(_) => {
            wrong(format!("Error: Invalid {what} topic '{filter}', are all '+' and '#' wildcards correct?\n"))
        }
    }
}

/// `$XDG_CONFIG_HOME/mosquitto_pub` or `$HOME/.config/mosquitto_pub`; on Windows
/// `%USERPROFILE%\mosquitto_pub.conf`.
fn option_file(tool: Tool) -> Option<PathBuf> {
    if cfg!(windows) {
        let home = std::env::var_os("USERPROFILE")?;
        return Some(PathBuf::from(home).join(format!("{}.conf", tool.name())));
    }
    if let Some(config) = std::env::var_os("XDG_CONFIG_HOME") {
        return Some(PathBuf::from(config).join(tool.name()));
    }
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".config").join(tool.name()))
}

/// The lines of an option file as arguments: an option, and everything behind it as its value.
fn file_lines(text: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let line = line.trim_end_matches('\r').trim_start_matches(' ');
        let (option, value) = match line.split_once(' ') {
            Some((option, value)) if !value.is_empty() => (option, Some(value)),
            Some((option, _)) => (option, None),
            None => (line, None),
        };
        if option.is_empty() {
            return None;
        }
        Some(std::iter::once(option).chain(value).map(str::to_owned).collect())
    })
}

#[cfg(test)]
mod tests;
