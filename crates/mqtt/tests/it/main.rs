//! The MQTT broker over real sockets, on a log in memory. Chapters as in Mosquitto's own suite where it has one.

// Functions that tests share stand outside of `#[test]`, where the lints do not see what they are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;
mod kafka_rights;
mod log_firsts;

mod bridge;
mod c01_connect;
mod c03_publish;
mod c04_retain;
mod c05_session;
mod c06_bridges;
mod c07_will;
mod c08_tls;
mod c09_auth;
mod c10_listener;
mod c12_statements;
mod c14_dynamic_security;
mod faults;
mod nodes;
mod restart;
mod share;
mod slow;
mod version_5;
