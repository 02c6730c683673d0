//! Sockets: listeners, what lies between a socket and MQTT, connections, output.

mod alarm;
mod aliases;
mod connection;
mod establish;
mod gathered;
mod listener;
mod outbuf;
mod proxy;
mod stream;
mod under_way;
pub mod websocket;

pub(crate) use connection::{Close, Connection, ReadStep, Step};
pub(crate) use establish::{Guest, Identity};
pub(crate) use gathered::Sent;
pub(crate) use listener::{Listener, Security};
pub(crate) use outbuf::OutBuf;
