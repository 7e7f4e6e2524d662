//! What is learnt from: `lab` shows the facts that the server rests on, `twin` is the same server
//! in asyncio, `trace` lays the traces of both on one timeline and draws them, and `mutation`
//! plants bugs in a copy of all this, to see which test notices.

pub mod lab;
pub mod mutation;
pub mod trace;
