//! The mind of one server, pure.

pub mod whatsat;
