//! Vectors of foreign libraries.
