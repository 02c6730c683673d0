//! A broker on a free port, spoken to with raw frames.

// Functions that tests share stand outside of `#[test]`, where the lints do not see what they are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acls;
mod configs;
mod connections;
mod consumer_groups;
mod door;
mod door_nodes;
mod faults;
mod groups;
mod harness;
mod offsets;
mod produce_fetch;
mod quotas;
mod restart;
mod sasl;
mod share_groups;
mod storage;
mod telemetry;
mod tls;
mod topics;
mod transactions;
mod versions;
