//! Sockets: listeners, connections, output.

mod connection;
mod listener;
mod outbuf;

pub(crate) use connection::{Close, Connection, Step};
pub(crate) use listener::Listener;
