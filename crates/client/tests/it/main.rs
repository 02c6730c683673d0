//! The client against a broker that misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod connection;
mod consumer;
mod fake_broker;
mod producer;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use client::config::Properties;

/// Properties for `address` with quick retries, and these.
pub fn properties(address: SocketAddr, pairs: &[(&str, &str)]) -> Properties {
    let mut all = BTreeMap::from([
        ("bootstrap.servers".to_owned(), address.to_string()),
        ("retry.backoff.ms".to_owned(), "2".to_owned()),
        ("retry.backoff.max.ms".to_owned(), "10".to_owned()),
        ("reconnect.backoff.ms".to_owned(), "2".to_owned()),
        ("reconnect.backoff.max.ms".to_owned(), "10".to_owned()),
    ]);
    all.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    all
}
