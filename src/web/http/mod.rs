//! HTTP/1.1 without a socket: what browsers, phones and watchers of machines ask, and what they are
//! answered.

mod answer;
mod asker;
mod chunks;
mod request;

pub use answer::Answer;
pub use asker::{is_of_a_foreign_page, is_our_host};
pub use request::{CONTINUE, Headers, Limits, Method, Parsed, Refusal, Request, parse};

/// What the cookie of a browser's session is called.
pub const COOKIE: &str = "herd_session";
