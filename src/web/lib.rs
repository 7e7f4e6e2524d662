//! What phones, trackers, browsers and scripts say to a herd by HTTP. Pure: bytes come in, reports
//! and answers go out, and no socket, no clock and no server is known here.
//!
//! Apps that report where somebody is agree on nothing but HTTP: each has names, units and shapes
//! of its own, and wants to be answered in its own way. So a body is recognised by its content,
//! never by its path or its content type:
//!
//! ```text
//!   query, form ────────────▶ parameters    Traccar Client to 8, OsmAnd, GPSLogger, scripts
//!   {"_type": …} ───────────▶ owntracks     OwnTracks
//!   {"locations": […]} ─────▶ overland      Overland
//!   {"location", "device_id"} ▶ traccar     Traccar Client 9
//!   {"type": "Feature" …} ──▶ geojson       scripts, maps
//!   {"type": "update_location"} ▶ home_assistant
//!   […] ────────────────────▶ each of them, one after the other
//! ```
//!
//! A report that is of no use (no fix, a bad number) is answered like a good one and counted by its
//! reason. Most apps send what was refused again and again, before anything newer: a 4xx would
//! silence a phone.
//!
//! Where a client is goes out as GeoJSON (`seen`, spelled by `json_text`), or is looked at on a
//! page (`map`). HTTP itself, which the operators' port speaks as well, is in `http`.
//!
//! Whose reports are taken and who may see them is in `access`; how coarsely, in `blur`.
//!
//! Reading order: `report` (what comes of it), `body` (which app it is), `bodies` (a file an app),
//! then `fields`, `position`, `stamp` and `client` (the tools).

pub mod access;
pub mod ask;
pub mod blur;
mod bodies;
mod body;
mod client;
pub mod clients;
mod fields;
pub mod follow;
pub mod friends;
pub mod http;
mod json_text;
pub mod map;
pub mod mqtt;
pub mod nearby;
mod position;
mod report;
pub mod seen;
mod stamp;

pub use body::{Hints, read_body};
pub use client::unescape;
pub use report::{Fix, Reading, Reply, Unusable};
