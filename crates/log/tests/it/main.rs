//! The log through its public interface.

mod basics;
mod faults;
