//! Sockets: listeners, connections, output.

mod alarm;
mod connection;
mod gathered;
mod listener;
mod outbuf;
mod under_way;

pub(crate) use connection::{Close, Connection, Step};
pub(crate) use gathered::Sent;
pub(crate) use listener::Listener;
