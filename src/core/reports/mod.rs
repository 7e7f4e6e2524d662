//! What becomes of a report. `admission` says whether it may be taken from a client, `flood` keeps
//! it if it is news and passes it on, `expiry` forgets it when it is old, `changes` tells those who
//! watch, and `erasing` forgets a client on demand. How reports are held is in `store`.

pub(crate) mod admission;
pub(crate) mod age;
pub mod changes;
pub(crate) mod erasing;
pub(crate) mod expiry;
pub(crate) mod flood;
pub(crate) mod newcomers;
