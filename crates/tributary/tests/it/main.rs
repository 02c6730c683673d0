//! The binary as its users meet it: processes, sockets, signals, files.

// A test that cannot go on says so by panicking; clippy.toml covers test functions, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod documents;
mod hostile;
mod kill_loop;
mod log_tools;
mod mqtt_fleet;
mod mqtt_security;
mod one_authorizer;
mod serve;

use std::path::{Path, PathBuf};

use testkit::node::NodeOptions;

/// The binary under test.
fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tributary"))
}

/// A node on `data` with nothing else said.
fn options(data: &Path) -> NodeOptions {
    NodeOptions { binary: binary(), data: data.to_path_buf(), arguments: Vec::new() }
}

/// A number that a long run sets otherwise.
fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
