use super::*;

fn broker(plan: &Plan) -> &BrokerConfig {
    match &plan.store {
        Store::Embedded(broker) => broker,
        Store::Kafka { .. } => panic!("the log is here"),
    }
}

fn settings(pairs: &[(&str, &str)]) -> Vec<Setting> {
    pairs
        .iter()
        .map(|(k, v)| Setting { key: (*k).into(), value: (*v).into(), origin: Origin::Flag("--set") })
        .collect()
}

fn serve(pairs: &[(&str, &str)]) -> Result<Plan, Vec<String>> {
    for_serve(settings(pairs), Vec::new())
}

fn mosquitto(text: &str, ports: &[u16]) -> Result<Plan, Vec<String>> {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("mosquitto.conf");
    std::fs::write(&path, text).expect("write");
    for_mosquitto_file(Some(&path), ports, Vec::new()).map_err(|problems| {
        problems.into_iter().map(|p| p.replace(&path.display().to_string(), "FILE")).collect()
    })
}

fn kafka_addresses(plan: &Plan) -> Vec<String> {
    broker(plan).listeners.iter().map(|l| format!("{}://{}:{}", l.name, l.bind.host, l.bind.port)).collect()
}

fn mqtt_addresses(plan: &Plan) -> Vec<String> {
    plan.mqtt.iter().flat_map(|m| &m.listeners).map(|l| l.address.to_string()).collect()
}

#[test]
fn serve_without_anything_listens_on_loopback() {
    let plan = serve(&[]).expect("a plan");
    assert_eq!(kafka_addresses(&plan), ["PLAINTEXT://127.0.0.1:9092"]);
    assert_eq!(mqtt_addresses(&plan), ["127.0.0.1:1883"]);
    assert_eq!(plan.console.expect("a console").to_string(), "127.0.0.1:8080");
    assert_eq!(broker(&plan).data_dir, Path::new("tributary-data"));
}

#[test]
fn addresses_repeat_and_off_means_off() {
    let plan = serve(&[("mqtt", "1883,127.0.0.1:1884"), ("kafka", "9092,INNER://9093"), ("console", "off")]);
    let plan = plan.expect("a plan");
    assert_eq!(mqtt_addresses(&plan), ["127.0.0.1:1883", "127.0.0.1:1884"]);
    assert_eq!(kafka_addresses(&plan), ["PLAINTEXT://127.0.0.1:9092", "INNER://127.0.0.1:9093"]);
    assert!(plan.console.is_none());
    let plan = serve(&[("mqtt", "off"), ("kafka", "off")]).expect("a plan");
    assert!(plan.mqtt.is_none() && broker(&plan).listeners.is_empty());
}

#[test]
fn other_machines_are_served_only_when_somebody_said_so() {
    let problems = serve(&[("mqtt", "0.0.0.0:1883"), ("kafka", "0.0.0.0:9092"), ("console", "0.0.0.0:80")]);
    let problems = problems.err().expect("refused").join("\n");
    for key in ["--set: kafka:", "--set: mqtt:", "--set: console:"] {
        assert!(problems.contains(key), "{problems}");
    }
    let open = serve(&[("mqtt", "0.0.0.0:1883"), ("kafka", "0.0.0.0:9092"), ("allow_anonymous", "true")]);
    assert_eq!(mqtt_addresses(&open.expect("a plan")), ["0.0.0.0:1883"]);
}

#[test]
fn every_problem_is_said_in_one_line_with_its_place() {
    let problems = serve(&[
        ("log.retention.hours", "soon"),
        ("max_packet_size", "7"),
        ("password_file", "/nonexistent"),
        ("mqtt", "nowhere:x"),
    ]);
    let problems = problems.err().expect("refused");
    for key in ["log.retention.hours: ", "max_packet_size: 7 is too small", "password_file: ", "mqtt: "] {
        let found = problems.iter().filter(|p| p.contains(key)).count();
        assert_eq!(found, 1, "{key} in {problems:?}");
    }
    assert!(problems.iter().all(|p| p.starts_with("--set: ") && !p.contains('\n')), "{problems:?}");
}

#[test]
fn contradictions_are_refused() {
    let problems =
        serve(&[("kafka", "9092"), ("listeners", "PLAINTEXT://:9092"), ("data", "a"), ("log.dirs", "b")]);
    let problems = problems.err().expect("refused").join("\n");
    assert!(problems.contains("kafka: contradicts listeners"), "{problems}");
    assert!(problems.contains("data: contradicts log.dirs"), "{problems}");
}

#[test]
fn a_kafka_file_opens_kafka_only() {
    let plan =
        for_kafka_file(settings(&[("log.dirs", "/x/y"), ("broker.id", "0")]), Vec::new()).expect("a plan");
    assert_eq!(kafka_addresses(&plan), ["PLAINTEXT://127.0.0.1:9092"]);
    assert!(plan.mqtt.is_none() && plan.console.is_none());
    assert_eq!(broker(&plan).data_dir, Path::new("/x/y"));
    assert!(plan.notes.iter().any(|n| n.contains("serves this machine only")), "{:?}", plan.notes);
    let plan = for_kafka_file(settings(&[("mqtt", "127.0.0.1:0")]), Vec::new()).expect("a plan");
    assert_eq!(mqtt_addresses(&plan), ["127.0.0.1:0"]);
}

#[test]
fn a_mosquitto_file_opens_mqtt_only() {
    let plan = mosquitto(
        "listener 1884 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location /x/y/\n",
        &[],
    );
    let plan = plan.expect("a plan");
    assert_eq!(mqtt_addresses(&plan), ["127.0.0.1:1884"]);
    assert!(broker(&plan).listeners.is_empty() && plan.console.is_none() && plan.temporary.is_none());
    assert_eq!(broker(&plan).data_dir, Path::new("/x/y/"));
    let plan = mosquitto("kafka_listener 127.0.0.1:9099\n", &[]).expect("a plan");
    assert_eq!(kafka_addresses(&plan), ["PLAINTEXT://127.0.0.1:9099"]);
    assert_eq!(mqtt_addresses(&plan), ["127.0.0.1:1883"]);
    assert_eq!(plan.temporary.as_deref(), Some(broker(&plan).data_dir.as_path()));
}

#[test]
fn ports_of_mosquitto_s_command_line() {
    let plan = for_mosquitto_file(None, &[1885, 1886], Vec::new()).expect("a plan");
    assert_eq!(mqtt_addresses(&plan), ["127.0.0.1:1885", "127.0.0.1:1886"]);
    assert!(plan.mqtt.expect("mqtt").listeners.iter().all(|l| l.allow_anonymous));
}

#[test]
fn mosquitto_settings_reach_the_server() {
    let text = "port 1883\nmax_inflight_messages 0\nmax_packet_size 0\nmax_queued_messages 7\nsys_interval 0\n\
                persistent_client_expiration 2d\nallow_anonymous true\nper_listener_settings true\n\
                listener 1884\nmax_qos 1\nmax_connections -1\nmount_point a/\n";
    let mqtt = mosquitto(text, &[]).expect("a plan").mqtt.expect("mqtt");
    assert_eq!(mqtt.limits.max_inflight_messages, u16::MAX);
    assert_eq!(mqtt.limits.max_packet_size, 268_435_460);
    assert_eq!(mqtt.limits.max_queued_messages, 7);
    assert_eq!(mqtt.sys_interval, None);
    assert_eq!(mqtt.limits.persistent_client_expiration, Some(std::time::Duration::from_secs(172_800)));
    let [first, second] = &mqtt.listeners[..] else { panic!("{:?}", mqtt.listeners) };
    assert!(first.allow_anonymous && !second.allow_anonymous);
    assert_eq!((first.max_qos, second.max_qos), (2, 1));
    assert_eq!(second.mount_point.as_deref(), Some("a/"));
}

#[test]
fn mosquitto_problems_name_file_and_line() {
    let problems =
        mosquitto("listener 1883\nacl_file /x\nnonsense 1\nmax_qos 3\nallow_anonymous perhaps\n", &[]);
    let problems = problems.err().expect("refused");
    for start in [
        "FILE:2: acl_file: ",
        "FILE:3: Unknown configuration variable",
        "FILE:4: max_qos: ",
        "FILE:5: allow_anonymous: ",
    ] {
        assert_eq!(problems.iter().filter(|p| p.starts_with(start)).count(), 1, "{start} in {problems:?}");
    }
}

#[test]
fn every_honoured_option_of_mosquitto_is_taken() {
    // A value that is right for some options and wrong for others: what must not come back is "has no effect".
    for (key, support) in mosquitto_conf::OPTIONS {
        if *support == Support::Honoured && *key != "include_dir" {
            // Those of bridges stand after `connection`, where others may stand too.
            let file = if *key == "connection" {
                "connection 1\n".into()
            } else {
                format!("connection b\n{key} 1\n")
            };
            let problems = mosquitto(&file, &[]).err().unwrap_or_default().join("\n");
            assert!(!problems.contains("has no effect"), "{key}: {problems}");
        }
    }
}

#[test]
fn routes_are_read() {
    let plan =
        serve(&[("mqtt.route.press", "plant/+/press/# -> press key=level:1 partitions=4")]).expect("a plan");
    let route = &plan.mqtt.expect("mqtt").routes[0];
    assert_eq!(
        (route.filter.as_str(), route.topic.as_str(), route.partitions),
        ("plant/+/press/#", "press", Some(4))
    );
    assert_eq!(route.key, mqtt::RouteKey::Level(1));
    assert_eq!(route.ack, None, "what mqtt.ack says");
    let plan = serve(&[("mqtt.ack", "memory"), ("mqtt.route.a", "a/# -> a ack=fsync")]).expect("a plan");
    let mqtt = plan.mqtt.expect("mqtt");
    assert_eq!(mqtt.auto_create.ack, mqtt::AckLevel::Memory);
    assert_eq!(mqtt.routes[0].ack, Some(mqtt::AckLevel::Fsync));
    let problems = serve(&[("mqtt.ack", "never")]).err().expect("refused");
    assert!(problems[0].contains("is not fsync or memory"), "{problems:?}");
    let problems = serve(&[("mqtt.route.x", "a b c")]).err().expect("refused");
    assert!(problems[0].contains("expected FILTER -> TOPIC"), "{problems:?}");
}

#[test]
fn a_cluster_as_the_store_takes_properties_of_kafka_clients() {
    let plan = serve(&[
        ("store", "kafka"),
        ("bootstrap", "one:9092,two:9092"),
        ("security.protocol", "SSL"),
        ("node-id", "a.b-1"),
        ("no.such.property", "1"),
    ])
    .expect("a plan");
    let Store::Kafka { properties, node_id } = &plan.store else { panic!("the log is in the cluster") };
    assert_eq!(properties.get("bootstrap.servers").map(String::as_str), Some("one:9092,two:9092"));
    assert_eq!(properties.get("security.protocol").map(String::as_str), Some("SSL"));
    assert_eq!(plan.notes, ["--set: no.such.property: not a property of Kafka's clients, not used"]);
    assert_eq!(mqtt_addresses(&plan), ["127.0.0.1:1883"]);
    let letters = |pairs: &[(&str, &str)]| serve(pairs).expect("a plan").mqtt.expect("MQTT").dead_letters;
    let cluster = [("store", "kafka"), ("bootstrap", "h:1")];
    assert_eq!(letters(&cluster), mqtt::DeadLetters::OfEachTopic);
    assert_eq!(letters(&[]), mqtt::DeadLetters::Off);
    let named = [cluster[0], cluster[1], ("mqtt.dead.letter", "lost")];
    assert_eq!(letters(&named), mqtt::DeadLetters::To("lost".into()));
    assert_eq!(letters(&[cluster[0], cluster[1], ("mqtt.dead.letter", "none")]), mqtt::DeadLetters::Off);
    assert_eq!(node_id.as_deref(), Some("a.b-1"));
}

#[test]
fn what_contradicts_a_store_is_refused_by_name() {
    let refused = |pairs: &[(&str, &str)]| serve(pairs).map(drop).expect_err("refused");
    assert_eq!(
        refused(&[("store", "kafka"), ("kafka", "127.0.0.1:1"), ("data", "d")]),
        [
            "--set: kafka: with store=kafka the cluster itself serves Kafka clients: leave it out, or off",
            "--set: data: with store=kafka nothing is stored here: leave it out",
            "--set: store: kafka: say where it is: --bootstrap host:9092",
        ]
    );
    assert_eq!(refused(&[("bootstrap", "h:1")]), ["--set: bootstrap: means something only with store=kafka"]);
    assert_eq!(
        refused(&[("store", "kafka"), ("bootstrap", "h:1"), ("node-id", "a b")]),
        ["--set: node-id: expected 1 to 64 letters, digits, dots, dashes"]
    );
    assert_eq!(refused(&[("store", "disk")]), ["--set: store: disk: expected embedded or kafka"]);
}
