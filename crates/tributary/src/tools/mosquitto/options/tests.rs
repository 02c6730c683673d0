//! The command line, read and refused.

use super::*;

fn args(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn read(tool: Tool, line: &str) -> Result<Options, Stop> {
    let mut options = Options::new(tool);
    options.read(&args(line))?;
    options.finish()
}

fn ok(tool: Tool, line: &str) -> Options {
    read(tool, line).unwrap_or_else(|stop| panic!("{line}: {stop:?}"))
}

#[test]
fn everything_is_read() {
    let o = ok(
        Tool::Publish,
        "-h host -p 1884 -u user -P pass -i me -k 5 -q 2 -r -V mqttv5 -d -t a/b -m hi --will-topic w --will-payload x \
         --will-qos 1 --will-retain --nodelay -A 127.0.0.1 -M 3 --repeat 2 --repeat-delay 0.5 --quiet",
    );
    assert_eq!((o.host.as_str(), o.port), ("host", Some(1884)));
    assert_eq!(
        (o.user_name.as_deref(), o.password.as_deref(), o.id.as_deref()),
        (Some("user"), Some("pass"), Some("me"))
    );
    assert_eq!((o.keep_alive, o.qos, o.retain, o.version), (5, QoS::ExactlyOnce, true, ProtocolVersion::V5));
    assert_eq!((o.topic.as_deref(), o.source), (Some("a/b"), Some(Source::Text("hi".into()))));
    assert_eq!(
        (o.will_topic.as_deref(), o.will_payload.as_deref(), o.will_qos),
        (Some("w"), Some("x"), QoS::AtLeastOnce)
    );
    assert_eq!((o.repeat, o.repeat_delay_us, o.inflight_max), (2, 500_000, 3));
    assert!(o.debug && o.quiet && o.nodelay && o.will_retain);

    let o = ok(
        Tool::Subscribe,
        "-t a -t b/# -T x -U y -C 3 -W 2 -E -F %p -N -v --pretty -R --random-filter 50 -x 10 -V 5",
    );
    assert_eq!((o.topics, o.filter_out, o.unsubscribe), (args("a b/#"), args("x"), args("y")));
    assert_eq!((o.message_count, o.timeout, o.random_filter), (Some(3), Some(2), 5000));
    assert_eq!(o.connect_properties.connect().session_expiry_interval, Some(10));
    assert!(o.exit_after_subscribe && !o.end_of_line && o.verbose && o.pretty && o.no_retain);
}

#[test]
fn defaults() {
    let o = ok(Tool::Publish, "-t a -n");
    assert_eq!(
        (o.host.as_str(), o.port, o.keep_alive, o.version),
        ("localhost", None, 60, ProtocolVersion::V311)
    );
    assert_eq!((o.qos, o.clean, o.id), (QoS::AtMostOnce, true, None));
    assert_eq!(ok(Tool::Request, "-t a -e b -n").version, ProtocolVersion::V5);
    let o = ok(Tool::Subscribe, "-t a -I pre");
    assert_eq!(o.id, Some(format!("pre{}", std::process::id())));
}

#[test]
fn urls() {
    let o = ok(Tool::Publish, "-L mqtt://user:p@host:99/a/b -n");
    assert_eq!((o.host.as_str(), o.port, o.topic.as_deref()), ("host", Some(99), Some("a/b")));
    assert_eq!((o.user_name.as_deref(), o.password.as_deref()), (Some("user"), Some("p")));
    let o = ok(Tool::Subscribe, "-L MQTT://host/#");
    assert_eq!((o.host.as_str(), o.port, o.topics), ("host", Some(1883), args("#")));
}

#[test]
fn properties() {
    let o = ok(
        Tool::Publish,
        "-t a -n -D publish content-type text -D PUBLISH User-Property k v -D publish message-expiry-interval 5 \
         -D connect receive-maximum 7 -D will will-delay-interval 9 --will-topic w -D disconnect reason-string bye",
    );
    assert_eq!(o.version, ProtocolVersion::V5);
    let publish = o.publish_properties.publish().expect("valid");
    assert_eq!(publish.properties().content_type(), Some("text"));
    assert_eq!(publish.properties().message_expiry_interval(), Some(5));
    assert_eq!(publish.properties().user_properties().collect::<Vec<_>>(), [("k", "v")]);
    assert_eq!(o.connect_properties.connect().receive_maximum, Some(7));
    assert_eq!(o.will_properties.will().delay_interval, Some(9));
    assert_eq!(o.disconnect_properties.disconnect().reason_string.as_deref(), Some("bye"));
}

#[test]
fn what_is_wrong_is_said() {
    use Tool::{Publish, Subscribe};
    for (tool, line, text) in [
        (Publish, "-q 3", "Error: Invalid QoS given: 3\n"),
        (Publish, "-q", "Error: -q argument given but no QoS specified.\n\n"),
        (Publish, "-k 4", "Error: Invalid keepalive given, it must be between 5 and 65535 inclusive.\n\n"),
        (Publish, "-m a -n", "Error: Only one type of message can be sent at once.\n\n"),
        (Publish, "-t a/#", "Error: Invalid publish topic 'a/#', does it contain '+' or '#'?\n"),
        (Publish, "-p 70000", "Error: Invalid port given: 70000\n"),
        (Publish, "-i a -I b", "Error: -i and -I argument cannot be used together.\n\n"),
        (Publish, "-V 4", "Error: Invalid protocol version argument given.\n\n"),
        (Publish, "-v", "Error: Unknown option '-v'.\n"),
        (Publish, "-C 1", "Error: Unknown option '-C'.\n"),
        (Publish, "-c -t a -n", "Error: You must provide a client id if you are using the -c option.\n"),
        (
            Publish,
            "-V 5 -c -t a -n",
            "Error: You must provide a client id if you are using an infinite session expiry interval.\n",
        ),
        (Publish, "-x 1y", "Error: session-expiry-interval not a number.\n\n"),
        (Publish, "-x -2", "Error: session-expiry-interval out of range.\n\n"),
        (Publish, "--will-payload x", "Error: Will payload given, but no will topic given.\n"),
        (Publish, "--will-retain", "Error: Will retain given, but no will topic given.\n"),
        (Publish, "-L http://x/y", "Error: unsupported URL scheme.\n\n"),
        (Publish, "-L mqtt://x", "Error: Invalid URL for -L argument specified - topic missing.\n"),
        (Publish, "-D publish", "Error: --property argument given but not enough arguments specified.\n\n"),
        (Publish, "-D x content-type y", "Error: Invalid command given in --property argument.\n\n"),
        (Publish, "-D publish x y", "Error: Invalid property name given in --property argument.\n\n"),
        (
            Publish,
            "-D connect content-type y",
            "Error: content-type property not allowed for connect in --property argument.\n\n",
        ),
        (
            Publish,
            "-D publish subscription-identifier 1",
            "Error: subscription-identifier property not supported for publish in --property argument.\n\n",
        ),
        (
            Publish,
            "-D publish topic-alias 70000",
            "Error: Property value (70000) out of range for property topic-alias.\n\n",
        ),
        (
            Publish,
            "-t a -n -D publish content-type a -D publish content-type b",
            "Error in PUBLISH properties: Duplicate property in property list\n",
        ),
        (
            Publish,
            "-t a -n -D connect receive-maximum 0",
            "Error in CONNECT properties: A network protocol error occurred when communicating with the broker.\n",
        ),
        (Publish, "--cafile", "Error: --cafile argument given but no file specified.\n\n"),
        (Publish, "--psk 1a -t a -n", "Error: --psk: TLS with a pre-shared key is not supported.\n"),
        (Publish, "--proxy x -t a -n", "Error: --proxy: SOCKS is not supported.\n"),
        (
            Publish,
            "--cafile x --cert y -t a -n",
            "Error: Both certfile and keyfile must be provided if one of them is set.\n",
        ),
        (Publish, "--ws-path x -t a -n", "Error: --ws-path must begin with / and hold no blanks.\n"),
        (Subscribe, "", "Error: You must specify a topic to subscribe to.\n"),
        (
            Subscribe,
            "-t a#",
            "Error: Invalid subscription topic 'a#', are all '+' and '#' wildcards correct?\n",
        ),
        (Subscribe, "-C 0", "Error: Invalid message count \"0\".\n\n"),
        (Subscribe, "-W x", "Error: Invalid timeout \"0\".\n\n"),
        (Subscribe, "-m x", "Error: Unknown option '-m'.\n"),
        (Subscribe, "-F %z", "Error: Invalid format specifier 'z'.\n"),
        (Subscribe, "--random-filter 101", "Error: --random-filter chance must be between 0.1-100.0\n\n"),
    ] {
        match read(tool, line) {
            Err(stop) => assert_eq!(stop, Stop::Wrong(text.to_owned()), "{line}"),
            Ok(_) => panic!("{line} was taken"),
        }
    }
    assert_eq!(read(Publish, "--help").err(), Some(Stop::Help));
    assert_eq!(read(Publish, "--version").err(), Some(Stop::Version));
}

#[test]
fn option_files() {
    let lines: Vec<_> = file_lines("# comment\n-h host\n\n-t a b\r\n-d\n").collect();
    assert_eq!(lines, [vec!["-h", "host"], vec!["-t", "a b"], vec!["-d"]]);
}
