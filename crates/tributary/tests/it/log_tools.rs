//! What MQTT keeps in the log, as Kafka's tools show it.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::binary;
use crate::serve::{Guard, addresses, start, text};

fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("runs")
}

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

fn serve(settings: &[&str]) -> (Guard, tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().expect("tempdir");
    let any = "127.0.0.1:0";
    let mut arguments = vec!["serve", "--console", "off", "--kafka", any, "--mqtt", any];
    settings.iter().for_each(|s| arguments.extend(["--set", s]));
    arguments.extend(["--data", text(dir.path())]);
    let (guard, lines) = start(&arguments);
    let kafka = addresses(&lines, "kafka").first().expect("a listener").to_string();
    let port = addresses(&lines, "mqtt").first().expect("a listener").port().to_string();
    (guard, dir, kafka, port)
}

fn publish(port: &str, topic: &str, payload: &str, more: &[&str]) {
    let sent = ["mosquitto_pub", "-p", port, "-q", "1", "-t", topic, "-m", payload];
    let done = run(&[&sent, more].concat());
    assert!(done.status.success(), "{}", said(&done));
}

#[test]
fn a_share_group_is_described_with_its_lag() {
    let (_guard, _dir, kafka, port) = serve(&["mqtt.auto.create.partitions=1"]);
    publish(&port, "s/1", "before", &[]);
    let share = "$share/workers/s/#";
    let login = ["-p", &port, "-V", "5", "-q", "1", "-c", "-i", "worker", "-x", "3600"];
    let member = |more: &[&str]| run(&[&["mosquitto_sub"], &login[..], &["-t", share], more].concat());
    assert!(member(&["-E"]).status.success());
    for n in 0..5 {
        publish(&port, "s/1", &n.to_string(), &[]);
    }
    let described = |expected: &[&str]| {
        let deadline = Instant::now() + Duration::from_secs(20);
        let expected = [&[share, "s", "0"], expected].concat();
        loop {
            let shown =
                run(&["kafka-consumer-groups", "--bootstrap-server", &kafka, "--describe", "--group", share]);
            let rows = String::from_utf8_lossy(&shown.stdout).into_owned();
            let found = rows.lines().any(|l| l.split_whitespace().collect::<Vec<_>>().starts_with(&expected));
            if found {
                return;
            }
            assert!(Instant::now() < deadline, "{}", said(&shown));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // Offset, end, lag.
    described(&["1", "6", "5"]);
    let got = member(&["-W", "3"]);
    assert_eq!(String::from_utf8_lossy(&got.stdout), "0\n1\n2\n3\n4\n", "{}", said(&got));
    described(&["6", "6", "0"]);
}

#[test]
fn retained_messages_are_a_compacted_topic_and_a_compacted_topic_is_retained_messages() {
    let (_guard, _dir, kafka, port) = serve(&["mqtt.route.prices=prices/# -> prices retained=true"]);
    publish(&port, "a/1", "kept", &["-r"]);
    let read = |topic: &str| {
        let read = run(&[
            "kafka-console-consumer",
            "--bootstrap-server",
            &kafka,
            "--topic",
            topic,
            "--from-beginning",
            "--formatter-property",
            "print.key=true",
            "--max-messages",
            "1",
            "--timeout-ms",
            "10000",
        ]);
        String::from_utf8_lossy(&read.stdout).into_owned()
    };
    assert_eq!(read("__mqtt_retained"), "a/1\tkept\n");
    publish(&port, "prices/tin", "5", &[]);
    assert_eq!(read("prices"), "prices/tin\t5\n");
    let mut producer = Command::new(binary())
        .args(["kafka-console-producer", "--bootstrap-server", &kafka, "--topic", "prices"])
        .args(["--reader-property", "parse.key=true"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("runs");
    std::io::Write::write_all(&mut producer.stdin.take().expect("piped"), b"gold\t7\n").expect("writes");
    assert!(producer.wait().expect("ends").success());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let got = run(&["mosquitto_sub", "-p", &port, "-t", "prices/gold", "-v", "-W", "1", "-C", "1"]);
        if String::from_utf8_lossy(&got.stdout) == "prices/gold 7\n" {
            break;
        }
        assert!(Instant::now() < deadline, "{}", said(&got));
    }
    let replayed = run(&["mosquitto_sub", "-p", &port, "-t", "$replay/-1h/+/#", "-v", "-C", "3", "-W", "20"]);
    let mut lines: Vec<_> = String::from_utf8_lossy(&replayed.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["a/1 kept", "prices/gold 7", "prices/tin 5"], "{}", said(&replayed));
}
