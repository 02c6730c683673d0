use super::*;

fn parse(text: &str) -> Result<(BrokerConfig, Vec<ConfigNote>), String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    BrokerConfig::from_properties(pairs).map_err(|problems| problems.to_string())
}

#[test]
fn a_kraft_server_properties_is_understood() {
    let (config, notes) = parse(
        "process.roles=broker,controller\nnode.id=3\ncontroller.quorum.voters=3@localhost:9093\n\
         listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://:9093,EXTERNAL://[::1]:0\n\
         advertised.listeners=PLAINTEXT://broker.example:19092\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,EXTERNAL:PLAINTEXT\n\
         log.dirs=/data/logs\nnum.network.threads=3\nlog.retention.hours=24",
    )
    .unwrap();
    assert_eq!(config.node_id, 3);
    assert_eq!(config.data_dir, PathBuf::from("/data/logs"));
    let seen: Vec<_> = config
        .listeners
        .iter()
        .map(|l| (l.name.as_str(), l.bind.host.as_str(), l.bind.port, l.advertised.as_ref().map(|a| a.port)))
        .collect();
    assert_eq!(seen, [("PLAINTEXT", "127.0.0.1", 9092, Some(19092)), ("EXTERNAL", "::1", 0, None)]);
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn every_problem_is_named() {
    let check = |text: &str, want: &str| assert_eq!(parse(text).unwrap_err(), want, "{text}");
    check(
        "num.partitions=0\nlog.retention.hours=x",
        "log.retention.hours: Invalid value x for configuration log.retention.hours: Not a number of type INT\n\
         num.partitions: Invalid value 0 for configuration num.partitions: Value must be at least 1",
    );
    check("listeners=9092", "listeners: \"9092\" is not NAME://host:port");
    check(
        "listeners=SSL://:9092",
        "ssl.keystore.location: TLS needs a key and a certificate: ssl.keystore.location (PEM or PKCS12), or ssl.keystore.key \
         and ssl.keystore.certificate.chain",
    );
    check(
        "listeners=FOO://:9092",
        "listeners: no security protocol defined for listener FOO in listener.security.protocol.map",
    );
    check("node.id=1\nbroker.id=2", "broker.id: 2 contradicts node.id=1");
    check("log.dirs=/a,/b", "log.dirs: names several directories; this broker keeps all logs in one");
    check(
        "advertised.listeners=OTHER://h:1",
        "advertised.listeners: advertises OTHER, which does not listen",
    );
    check(
        "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
        "advertised.listeners: cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
    );
    check(
        "authorizer.class.name=x",
        "authorizer.class.name: x is not known; the authorizer here is org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    );
}

#[test]
fn unused_settings_are_noted() {
    let (_, notes) = parse("zookeeper.connect=localhost:2181\nnosuch.key=1\nbackground.threads=4").unwrap();
    let seen: Vec<_> = notes.iter().map(|note| format!("{}: {}", note.key, note.message)).collect();
    assert_eq!(
        seen,
        [
            "background.threads: known to Kafka, not used by this broker",
            "nosuch.key: unknown setting, not used",
            "zookeeper.connect: not needed: coordination is built in, there is no ZooKeeper",
        ]
    );
}
