//! Traces, once they are files: `merge` lays several on one timeline, and `view` puts them into a
//! page that draws them. A server records its own (`herd::trace`), and so does its asyncio twin.

mod merge;
mod view;

pub use merge::merge;
pub use view::page;
