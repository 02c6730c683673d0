//! A broker on a free port, spoken to with raw frames.

mod configs;
mod connections;
mod door;
mod groups;
mod harness;
mod offsets;
mod produce_fetch;
mod restart;
mod topics;
mod versions;
