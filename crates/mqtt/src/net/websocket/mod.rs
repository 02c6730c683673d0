//! WebSocket (RFC 6455) for MQTT: the opening handshake and the frames, both without I/O, and a client's stream of them.
//!
//! MQTT needs little of it (binary frames, one subprotocol, no extensions), and the connection loop wants bytes in
//! and bytes out; a library would put its own buffers and messages between.

mod client;
mod frames;
mod handshake;

pub use client::WebSocket;
pub use frames::{Frames, Role};
pub use handshake::{Accepted, HandshakeError, Request, accept, check_response, request};
