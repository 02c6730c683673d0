//! The log through its public interface.

mod basics;
mod failures;
mod faults;
mod fixture;
