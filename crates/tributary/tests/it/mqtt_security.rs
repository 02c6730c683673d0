//! TLS, WebSocket, users and rights as their operators meet them: flags, files, signals, our own tools.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::binary;
use crate::serve::{Guard, addresses, start, text};

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mqtt/tests/certs").join(name)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("runs")
}

/// What our `mosquitto_sub` prints of one retained message.
fn fetch(arguments: &[&str]) -> Output {
    run(&[&["mosquitto_sub", "-W", "10", "-C", "1", "-q", "1"], arguments].concat())
}

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

fn hang_up(guard: &Guard) {
    let pid = guard.0.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("runs").success());
}

/// Tries until `done`: a signal says nothing when it has been acted on.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn serve_speaks_tls_and_websocket_where_the_flags_say() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (cert, key, ca) = (certificate("server.pem"), certificate("server.key"), certificate("ca.pem"));
    let any = "127.0.0.1:0";
    let (_guard, lines) = start(&[
        "serve",
        "--data",
        text(dir.path()),
        "--console",
        "off",
        "--kafka",
        any,
        "--mqtt",
        any,
        "--mqtt-tls",
        any,
        "--mqtt-ws",
        any,
        "--mqtt-wss",
        any,
        "--tls-cert",
        text(&cert),
        "--tls-key",
        text(&key),
        "--tls-ca",
        text(&ca),
    ]);
    let port = |what: &str| addresses(&lines, what).first().expect("a listener").port().to_string();
    let (plain, tls, ws, wss) = (port("mqtt"), port("mqtt-tls"), port("mqtt-ws"), port("mqtt-wss"));
    let sent = run(&["mosquitto_pub", "-p", &plain, "-t", "a", "-m", "21", "-q", "1", "-r"]);
    assert!(sent.status.success(), "{}", said(&sent));
    let ca = text(&ca);
    for arguments in [
        vec!["-p", &plain, "-t", "a"],
        vec!["-p", &tls, "--cafile", ca, "-t", "a"],
        vec!["-p", &tls, "--cafile", ca, "--tls-version", "tlsv1.3", "-V", "5", "-t", "a"],
        vec!["-p", &ws, "--ws", "-t", "a"],
        vec!["-p", &wss, "--ws", "--cafile", ca, "-t", "a"],
    ] {
        let got = fetch(&arguments);
        assert_eq!(String::from_utf8_lossy(&got.stdout), "21\n", "{arguments:?}: {}", said(&got));
    }
    let other = certificate("other-ca.pem");
    let refused = fetch(&["-p", &tls, "--cafile", text(&other), "-t", "a"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("A TLS error occurred."), "{}", said(&refused));
}

#[test]
fn a_file_s_users_and_rights_hold_and_change_with_sighup() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    let (file, users, rights) = (at("mosquitto.conf"), at("users"), at("rights"));
    let socket = at("mqtt.sock");
    for (flags, user) in [(&["-c", "-b"][..], "alice"), (&["-b"][..], "bob")] {
        let made = run(&[&["mosquitto_passwd"], flags, &[text(&users), user, "secret"]].concat());
        assert!(made.status.success(), "{}", said(&made));
    }
    std::fs::write(&rights, "user alice\ntopic readwrite a/#\nuser bob\ntopic read a/#\n").expect("write");
    let content = format!(
        "listener 0 {}\npassword_file {}\nacl_file {}\npersistence true\npersistence_location {}\n",
        socket.display(),
        users.display(),
        rights.display(),
        at("data").display()
    );
    std::fs::write(&file, content).expect("write");
    let (guard, _lines) = start(&["mosquitto", "-c", text(&file)]);
    let send = |user: &str, password: &str| {
        let login = ["-V", "5", "-u", user, "-P", password, "-t", "a/b", "-m", "21", "-q", "1", "-r"];
        run(&[&["mosquitto_pub", "--unix", text(&socket)], &login[..]].concat())
    };
    let read =
        |user: &str| fetch(&["--unix", text(&socket), "-u", user, "-P", "secret", "-t", "a/#", "-W", "1"]);
    assert!(send("alice", "secret").status.success());
    assert!(!send("alice", "wrong").status.success());
    assert!(
        said(&send("bob", "secret")).contains("Publish 1 failed: Not authorized"),
        "{}",
        said(&send("bob", "secret"))
    );
    assert_eq!(read("bob").stdout, b"21\n");

    std::fs::write(&rights, "user bob\ntopic readwrite a/#\n").expect("write");
    let changed = run(&["mosquitto_passwd", "-D", text(&users), "alice"]);
    assert!(changed.status.success(), "{}", said(&changed));
    hang_up(&guard);
    eventually("bob may publish", || !said(&send("bob", "secret")).contains("Not authorized"));
    assert!(!send("alice", "secret").status.success());

    // A file with a mistake changes nothing.
    std::fs::write(&rights, "user bob\ntopic\n").expect("write");
    hang_up(&guard);
    std::fs::write(&rights, "user bob\ntopic read a/#\n").expect("write");
    hang_up(&guard);
    eventually("bob may only read", || said(&send("bob", "secret")).contains("Not authorized"));
    // What its publisher may no longer write is not shown any more (check_retain_source).
    assert_eq!(read("bob").stdout, b"");
}

#[test]
fn files_that_are_wrong_stop_the_start_and_name_the_line() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    let (file, rights) = (at("mosquitto.conf"), at("rights"));
    std::fs::write(&rights, "topic read a\nuser\n").expect("write");
    for (line, expected) in [
        (
            format!("acl_file {}", rights.display()),
            format!("Error: {}:2: user: a name is missing", rights.display()),
        ),
        (
            "password_file /nonexistent".to_owned(),
            format!("Error: {}:2: password_file: /nonexistent cannot be", file.display()),
        ),
        (
            "certfile /nonexistent".to_owned(),
            format!("Error: {}:2: certfile: keyfile is missing", file.display()),
        ),
        (
            "cafile /x\ncertfile /nonexistent\nkeyfile /y".to_owned(),
            format!("Error: {}:2: certfile /nonexistent: ", file.display()),
        ),
        (
            "tls_version tlsv1.1".to_owned(),
            format!("Error: {}:2: tls_version: tlsv1.1 is not safe", file.display()),
        ),
        ("psk_file /x".to_owned(), format!("Error: {}:2: psk_file: pre-shared keys", file.display())),
    ] {
        std::fs::write(&file, format!("listener 0 /tmp/never\n{line}\n")).expect("write");
        let refused = run(&["mosquitto", "-c", text(&file)]);
        assert_eq!(refused.status.code(), Some(2), "{line}");
        assert!(said(&refused).contains(&expected), "{line}: {}", said(&refused));
    }
}

#[test]
fn d_ends_when_the_broker_in_the_background_is_ready() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    let (file, pid_file, log) = (at("mosquitto.conf"), at("pid"), at("log"));
    let socket = at("mqtt.sock");
    let content = format!(
        "listener 0 {}\nallow_anonymous true\npid_file {}\nlog_dest file {}\n",
        socket.display(),
        pid_file.display(),
        log.display()
    );
    std::fs::write(&file, content).expect("write");
    let started = run(&["mosquitto", "-d", "-c", text(&file)]);
    assert!(started.status.success(), "{}", said(&started));
    let pid = std::fs::read_to_string(&pid_file).expect("a pid file");
    let sent = run(&["mosquitto_pub", "--unix", text(&socket), "-t", "a", "-m", "x", "-q", "1"]);
    let stopped = Command::new("kill").arg(pid.trim()).status().expect("runs");
    assert!(sent.status.success() && stopped.success(), "{}", said(&sent));
    eventually("the broker stops", || !pid_file.exists());
    let logged = std::fs::read_to_string(&log).expect("a log");
    assert!(logged.contains("client connected"), "{logged}");
}
