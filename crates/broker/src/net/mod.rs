//! Sockets: accepting, reading frames, answering in order, and the limits on all of it.

pub(crate) mod acceptor;
pub(crate) mod budget;
pub(crate) mod connection;
pub(crate) mod response;
pub(crate) mod stream;
