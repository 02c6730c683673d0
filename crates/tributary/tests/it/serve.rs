//! Starting and stopping: what listens where, from which file, and what is refused.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mqtt_codec::{Connect, ProtocolVersion, QoS, ReasonCode};
use testkit::mqtt_client::MqttClient;
use testkit::node::Node;

use crate::{binary, options};

/// A process that is killed when the test is over.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `tributary arguments…` and answers its lines up to `ready`.
pub fn start(arguments: &[&str]) -> (Guard, Vec<String>) {
    start_in(&[], arguments)
}

/// The same with variables in the environment.
fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> (Guard, Vec<String>) {
    let mut command = Command::new(binary());
    command.envs(environment.iter().copied());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Guard(command.spawn().expect("starts"));
    let out = child.0.stdout.take().expect("standard output");
    let mut lines = Vec::new();
    for line in BufReader::new(out).lines() {
        lines.push(line.expect("a line"));
        if lines.last().is_some_and(|l| l == "ready") {
            return (child, lines);
        }
    }
    panic!("ended before `ready`: {lines:?}");
}

pub fn addresses(lines: &[String], what: &str) -> Vec<SocketAddr> {
    let prefix = format!("listening {what} ");
    let rest = lines.iter().filter_map(|l| l.strip_prefix(&prefix));
    rest.map(|l| l.split_whitespace().next().expect("an address").parse().expect("an address")).collect()
}

fn refused(arguments: &[&str]) -> (i32, Vec<String>) {
    let out = Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("runs");
    assert!(out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stdout));
    let said = String::from_utf8_lossy(&out.stderr).lines().map(String::from).collect();
    (out.status.code().expect("an exit code"), said)
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

#[test]
fn sigterm_is_a_clean_stop_and_the_data_opens_again() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut node = Node::start(options(dir.path())).expect("starts");
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success(), "{status}: {said}");
    node.restart().expect("starts again");
}

#[test]
fn more_partitions_than_a_shell_lets_a_program_open_files() {
    let dir = tempfile::tempdir().expect("tempdir");
    let script = format!(
        "ulimit -S -n 256; exec {} serve --console off --mqtt off --kafka 127.0.0.1:0 --data {}",
        text(&binary()),
        text(dir.path())
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Guard(command.spawn().expect("starts"));
    let out = child.0.stdout.take().expect("standard output");
    let lines: Vec<String> =
        BufReader::new(out).lines().map_while(Result::ok).take_while(|line| line != "ready").collect();
    let kafka = addresses(&lines, "kafka")[0].to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let admin = client::Admin::new(client::AdminConfig::new(&kafka).expect("config")).expect("admin");
        let topic = client::admin::NewTopic::new("many", Some(400), Some(1));
        let created = admin.create_topics(&[topic], client::admin::CreateTopicsOptions::default()).await;
        assert!(created.expect("an answer")[0].1.is_ok());
        let producer =
            client::Producer::new(client::ProducerConfig::new(&kafka).expect("config")).expect("producer");
        let mut sent = Vec::new();
        for partition in 0..400 {
            let record = client::ProducerRecord::new("many", "x").partition(partition);
            sent.push(producer.send(record).await.expect("sends"));
        }
        for delivery in sent {
            delivery.await.expect("acknowledged");
        }
    });
}

#[test]
fn addresses_may_repeat_and_port_0_says_which() {
    let dir = tempfile::tempdir().expect("tempdir");
    let any = "127.0.0.1:0";
    let arguments = [
        "serve",
        "--data",
        text(dir.path()),
        "--mqtt",
        any,
        "--mqtt",
        any,
        "--kafka",
        any,
        "--kafka",
        any,
        "--console",
        any,
    ];
    let (_guard, lines) = start(&arguments);
    for (what, count) in [("mqtt", 2), ("kafka", 2), ("console", 1)] {
        let found = addresses(&lines, what);
        assert_eq!(found.len(), count, "{lines:?}");
        for address in found {
            TcpStream::connect(address).expect("accepts");
        }
    }
    assert_eq!(
        lines.iter().filter(|l| l.starts_with("try ") || l.starts_with("then ")).count(),
        2,
        "{lines:?}"
    );
}

#[tokio::test]
async fn the_environment_configures_a_node_as_it_does_known_images() {
    let dir = tempfile::tempdir().expect("tempdir");
    // The variables of deploy/Dockerfile and one of Mosquitto's names, with ports that are free.
    let environment = [
        ("KAFKA_CFG_LOG_DIRS", text(dir.path())),
        ("KAFKA_CFG_LISTENERS", "PLAINTEXT://127.0.0.1:0"),
        ("KAFKA_CFG_MQTT", "127.0.0.1:0"),
        ("KAFKA_CFG_CONSOLE", "off"),
        ("KAFKA_CFG_ALLOW__ANONYMOUS", "false"),
    ];
    let (_guard, lines) = start_in(&environment, &["serve"]);
    assert!(lines.contains(&format!("data {}", text(dir.path()))), "{lines:?}");
    assert!(dir.path().join("meta.properties").exists());
    let found = ["kafka", "mqtt", "console"].map(|what| addresses(&lines, what).len());
    assert_eq!(found, [1, 1, 0], "{lines:?}");
    TcpStream::connect(addresses(&lines, "kafka")[0]).expect("accepts");
    let mqtt = addresses(&lines, "mqtt")[0];
    let (_client, ack) =
        MqttClient::open(mqtt, Connect::new(ProtocolVersion::V5, "anonymous")).await.expect("answers");
    assert_eq!(ack.reason, ReasonCode::NotAuthorized, "allow_anonymous=false");
}

#[test]
fn a_kafka_file_opens_what_it_names_with_the_data_where_it_says() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("server.properties");
    let data = dir.path().join("kafka-logs");
    let content = format!(
        "# as shipped with Kafka 3\nbroker.id=0\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs={}\nnum.partitions=1\n\
         zookeeper.connect=localhost:2181\nzookeeper.connection.timeout.ms=18000\ndelete.topic.enable=true\n",
        data.display()
    );
    std::fs::write(&file, content).expect("write");
    let (_guard, lines) = start(&["kafka-server-start", text(&file)]);
    assert_eq!(addresses(&lines, "kafka").len(), 1);
    assert!(addresses(&lines, "mqtt").is_empty() && addresses(&lines, "console").is_empty(), "{lines:?}");
    assert!(data.join("meta.properties").is_file());
}

#[tokio::test]
async fn a_mosquitto_file_opens_what_it_names_with_the_data_where_it_says() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("mosquitto.conf");
    let data = dir.path().join("persisted");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let content = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}\n",
        data.display()
    );
    std::fs::write(&file, content).expect("write");
    let (_guard, lines) = start(&["mosquitto", "-c", text(&file), "-v"]);
    assert!(addresses(&lines, "kafka").is_empty() && addresses(&lines, "console").is_empty(), "{lines:?}");
    let address = *addresses(&lines, "mqtt").first().expect("an MQTT listener");
    assert_eq!(address.port(), port);
    let (mut client, ack) =
        MqttClient::open(address, Connect::new(ProtocolVersion::V311, "c")).await.expect("connects");
    assert_eq!(ack.reason, ReasonCode::Success);
    client.subscribe("a/#", QoS::AtLeastOnce).await.expect("subscribes");
    assert!(data.join("meta.properties").is_file());
}

#[test]
fn a_bad_configuration_is_refused_line_by_line_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("server.properties");
    let data = dir.path().join("data");
    let content = format!("log.dirs={}\nlog.retention.hours=soon\n\nlisteners=NOWHERE\n", data.display());
    std::fs::write(&file, content).expect("write");
    let (code, said) = refused(&["kafka-server-start", text(&file)]);
    assert_eq!(code, 2);
    for (line, key) in [(2, "log.retention.hours"), (4, "listeners")] {
        let start = format!("Error: {}:{line}: {key}: ", file.display());
        assert_eq!(said.iter().filter(|l| l.starts_with(&start)).count(), 1, "{start} in {said:?}");
    }
    let toml = dir.path().join("tributary.toml");
    std::fs::write(&toml, format!("data = \"{}\"\n\n[settings]\nmax_qos = 7\n", data.display()))
        .expect("write");
    let (code, said) = refused(&["serve", "--config", text(&toml)]);
    assert_eq!((code, said), (2, vec![format!("Error: {}:4: max_qos: 7 is not 0, 1 or 2", toml.display())]));
    assert!(!data.exists(), "something was written");
}

#[test]
fn two_processes_cannot_share_a_data_directory() {
    let dir = tempfile::tempdir().expect("tempdir");
    let node = Node::start(options(dir.path())).expect("starts");
    let (code, said) = refused(&[
        "serve",
        "--data",
        text(node.data()),
        "--mqtt",
        "127.0.0.1:0",
        "--kafka",
        "127.0.0.1:0",
        "--console",
        "off",
    ]);
    assert_eq!(code, 1, "{said:?}");
    let error = said.iter().find(|l| l.starts_with("Error: ")).expect("an error");
    assert!(error.contains(text(node.data())), "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for flag in ["--mqtt", "--kafka", "--console"] {
        let mut arguments = vec!["serve", "--data", text(dir.path())];
        for other in ["--mqtt", "--kafka", "--console"] {
            arguments.extend([other, if other == flag { &address } else { "127.0.0.1:0" }]);
        }
        let (code, said) = refused(&arguments);
        assert_eq!(code, 1, "{said:?}");
        assert!(said.iter().any(|l| l.starts_with("Error: ") && l.contains(&address)), "{flag}: {said:?}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        vec!["--help"],
        vec!["serve", "--help"],
        vec!["kafka-server-start", "--help"],
        vec!["mosquitto", "-h"],
    ] {
        let out = Command::new(binary()).args(&command).output().expect("runs");
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains("Example"), "{command:?}: {said}");
    }
}
