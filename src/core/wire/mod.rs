//! Lines: how bytes become lines and lines become commands, and how answers are written. Nothing
//! here knows a server.
//!
//! `line` cuts a stream into lines and `command` reads those of clients, which `fast_path` does in
//! one pass if they are spelled as usual. `peer_command` reads what only peers say to each other.
//! `opening` is for the beginning of AT lines, which is mostly the same as before.

pub mod command;
pub mod fast_path;
pub mod line_buffer;
pub mod opening;
pub mod peer_command;

pub use command::*;
