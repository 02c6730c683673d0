//! The log through its public interface.

// Helpers outside test functions are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod basics;
mod compaction;
mod compaction_limits;
mod failures;
mod faults;
mod fixture;
