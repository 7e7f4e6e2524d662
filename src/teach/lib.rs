//! What is learnt from: `lab` shows the facts that the server rests on, `twin` is the same server
//! in asyncio, and `trace` lays the traces of both on one timeline and draws them.

pub mod lab;
pub mod trace;
