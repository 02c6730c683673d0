//! Properties of every codec in the crate, over seeded random input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "it/bounded.rs"]
mod bounded;
#[path = "it/frame.rs"]
mod frame;
#[path = "it/hand_written.rs"]
mod hand_written;
#[path = "it/messages.rs"]
mod messages;
#[path = "it/random.rs"]
mod random;
#[path = "it/records.rs"]
mod records;
#[path = "it/vocabulary.rs"]
mod vocabulary;
#[path = "it/wire.rs"]
mod wire;
