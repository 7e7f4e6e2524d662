//! The map of the house. `README.md` says how to run a herd, `src/core/PROTOCOL.md` has the rules
//! of the wire, and `NOTES.md` is the book about how it works and why; this is where to find it all
//! in the code.
//!
//! One process is one server: a state machine that decides, and one thread that turns around it.
//!
//! ```text
//!    clients, peers, operators                    the disk        remote places, DNS
//!           │ sockets                                ▲                   ▲
//!   ┌───────┴──────────────────────────────┐   ┌─────┴─────┐   ┌─────────┴─────────┐
//!   │ reactor   when: readiness, time      │──▶│ logging   │   │ worker threads    │
//!   │     │ Input            ▲ Output      │   │ (thread)  │   │ places, resolver  │
//!   │     ▼                  │             │   └───────────┘   └─────────▲─────────┘
//!   │ core      what: lines, reports, peers│── questions, answers ───────┘
//!   └──────────────────────────────────────┘
//! ```
//!
//! The crates, each in its folder below `src`:
//!
//! ```text
//!   herd ──▶ herd-core      what a server decides, pure: its Cargo.toml is the proof
//!    │ └───▶ herd-sim ──▶ herd-core     whole herds in virtual time, their faults and promises
//!    ├─────▶ herd-teach     experiments, the asyncio twin, the page that draws a trace
//!    ├─────▶ herd-load      the load that measures a server, from outside
//!    └─────▶ herd-web ──▶ herd-core     HTTP, and what phones and browsers say by it
//! ```
//!
//! Reading order:
//!
//! 1. `herd_core::border`: all that can happen to a server and all that it can ask for, on one
//!    screen.
//! 2. `herd_core`: what a client's command does. Then its `reports` and `peers`.
//! 3. Its `wire`, `store`, `clock`, `timer_wheel` and `whatsat`: the tools, as they are
//!    met.
//! 4. Its `session` and `driver`: a connection without its socket, and how it meets the server.
//!    Then `reactor`: the loop, and from there as its own first paragraph says.
//! 5. `herd_sim`: the core again, without a network.
//! 6. `herd_web`, and `places`, `config`, `journal`, `logging`, `metrics`, `trace`, `run_dir`,
//!    `status`, `proxy_head`, `tls`: each can be read alone. `cmd`, the command line, belongs to
//!    the binary and has a file for each command.
//! 7. `herd_load`, and `herd_teach::lab`: the facts that all of this rests on, as small programs;
//!    it may be read first.
//!
//! Within the server, the arrows run one way too:
//!
//! ```text
//!   cmd ─▶ everything
//!   reactor ─▶ config, journal, logging, metrics, places, proxy_head, status, tls, trace
//!   places ─▶ config      run_dir ─▶ config      tls ─▶ config      journal ─▶ logging
//! ```
//!
//! What always holds, and where it is kept:
//!
//! - An `Input` is handed over only after every `Output` of the one before is carried out
//!   (`herd_core::driver`).
//! - The same seed and the same inputs give the same outputs (`herd_core::Server`).
//! - No `ConnId` and no `Ticket` is ever given twice, so nothing need be cancelled
//!   (`herd_core::names`).
//! - A slot is freed only when the turn has ended (`reactor`, its graveyard).
//! - A connection with work left that no event will announce is in a queue or has a timer
//!   (`reactor`, the unfinished).
//! - Reports of one client have a total order, so every server ends with the same one
//!   (`herd_core::store`).
//! - The loop never waits for a disk, a name or a service: threads do (`journal`, `logging`,
//!   `places`).
//! - Everything has a bound, and its reason stands beside it (`config::limits`).

pub mod config;
pub mod journal;
pub mod logging;
pub mod openmetrics;
pub mod places;
pub mod proxy_head;
pub mod reactor;
pub mod run_dir;
pub mod status;
pub mod tls;
pub mod trace;
