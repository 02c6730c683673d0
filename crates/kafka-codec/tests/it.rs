//! Properties of every codec in the crate, over seeded random input.

#[path = "it/bounded.rs"]
mod bounded;
#[path = "it/hand_written.rs"]
mod hand_written;
#[path = "it/messages.rs"]
mod messages;
#[path = "it/random.rs"]
mod random;
#[path = "it/records.rs"]
mod records;
