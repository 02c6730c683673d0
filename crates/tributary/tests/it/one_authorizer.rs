//! Users and rights given with Kafka's tools hold for MQTT clients, at once.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::binary;
use crate::serve::{addresses, start, text};

fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("runs")
}

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

#[test]
fn users_and_rights_of_kafka_s_tools_hold_for_mqtt_at_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let any = "127.0.0.1:0";
    let mut arguments =
        vec!["serve", "--data", text(dir.path()), "--console", "off", "--kafka", any, "--mqtt", any];
    for setting in [
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:ANONYMOUS",
        "allow_anonymous=false",
    ] {
        arguments.extend(["--set", setting]);
    }
    let (_guard, lines) = start(&arguments);
    let kafka = addresses(&lines, "kafka").first().expect("a listener").to_string();
    let port = addresses(&lines, "mqtt").first().expect("a listener").port().to_string();
    let admin = |tool: &str, more: &[&str]| {
        let done = run(&[&[tool, "--bootstrap-server", &kafka], more].concat());
        assert!(done.status.success(), "{tool} {more:?}: {}", said(&done));
    };
    let user = |change: &[&str]| {
        admin(
            "kafka-configs",
            &[&["--alter", "--entity-type", "users", "--entity-name", "alice"], change].concat(),
        );
    };
    let login = ["-p", &port, "-V", "5", "-u", "alice", "-P", "secret", "-q", "1"];
    let send = |topic: &str| run(&[&["mosquitto_pub"], &login[..], &["-t", topic, "-m", "21"]].concat());

    assert!(said(&send("sensors/1")).contains("Not authorized"), "there is no such user");
    user(&["--add-config", "SCRAM-SHA-512=[iterations=4096,password=secret]"]);
    admin("kafka-topics", &["--create", "--topic", "sensors"]);
    assert!(said(&send("sensors/1")).contains("Publish 1 failed: Not authorized"), "there is no such right");
    let right = |change: &str, operation: &str| {
        let what =
            [change, "--allow-principal", "User:alice", "--operation", operation, "--topic", "sensors"];
        let force: &[&str] = if change == "--remove" { &["--force"] } else { &[] };
        admin("kafka-acls", &[&what[..], force].concat());
    };
    right("--add", "WRITE");
    let sent = send("sensors/1");
    assert!(sent.status.success() && !said(&sent).contains("failed"), "{}", said(&sent));

    // A live subscriber loses the right, then its user.
    let subscribe = |filter: &str| {
        Command::new(binary())
            .args([&["mosquitto_sub"], &login[..], &["-t", filter, "-d"]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs")
    };
    let refused = run(&[&["mosquitto_sub"], &login[..], &["-t", "sensors/#", "-W", "2"]].concat());
    assert!(said(&refused).contains("denied"), "{}", said(&refused));
    right("--add", "READ");
    let mut live = subscribe("sensors/#");
    let mut got = std::io::BufReader::new(live.stdout.take().expect("piped"));
    let mut until = |what: &str| {
        use std::io::BufRead;
        let mut line = String::new();
        while got.read_line(&mut line).expect("reads") > 0 {
            if line.contains(what) {
                return;
            }
            line.clear();
        }
        panic!("no {what:?}");
    };
    until("Subscribed");
    assert!(send("sensors/1").status.success());
    until("'sensors/1'");
    right("--remove", "READ");
    assert!(send("sensors/2").status.success());
    user(&["--delete-config", "SCRAM-SHA-512"]);
    // The connection ends without the message; the client tries again and is told that it may not come in.
    let deadline = Instant::now() + Duration::from_secs(15);
    while live.try_wait().expect("waits").is_none() {
        assert!(Instant::now() < deadline, "the client is still connected");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut got, &mut rest).expect("reads");
    assert!(!rest.contains("sensors/2"), "{rest}");
}
