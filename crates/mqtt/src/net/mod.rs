//! Sockets: listeners, what lies between a socket and MQTT, connections, output.

mod alarm;
mod aliases;
mod answers;
mod arrival;
mod close;
mod connection;
mod establish;
mod gathered;
mod handshake;
mod listener;
mod outbuf;
mod proxy;
mod sending;
mod stream;
mod under_way;
pub mod websocket;

pub(crate) use answers::Step;
pub(crate) use arrival::Arrival;
pub(crate) use close::Close;
pub(crate) use connection::Connection;
pub(crate) use establish::{Guest, Identity};
pub(crate) use gathered::Sent;
pub(crate) use handshake::{ReadStep, read_packet};
pub(crate) use listener::{Listener, Security};
pub(crate) use outbuf::OutBuf;
pub(crate) use stream::{Socket, Stream};
