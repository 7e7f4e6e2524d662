//! The map of the house. `README.md` says how to run a herd, `NOTES.md` is the book about how it
//! works and why; this is where to find it in the code.
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
//! Reading order:
//!
//! 1. `core::border`: all that can happen to a server and all that it can ask for, on one screen.
//! 2. `core`: what a client's command does. Then `core::flood`, `core::peers`, `core::sync`.
//! 3. `core::wire`, `core::line`, `core::clock`, `core::store`, `core::timer_wheel`,
//!    `core::whatsat`: the tools, as they are met.
//! 4. `reactor`: the loop, and from there as its own first paragraph says.
//! 5. `sim`: the core again, without a network: whole herds, their faults and their promises.
//! 6. `places`, `config`, `logging`, `trace`, `run_dir`, `status`, `exit`: each can be read alone.
//!    The command line (`main.rs`, `cli.rs`, `operator.rs`, `describe.rs`, `lives.rs`, `load.rs`,
//!    `traces.rs`) belongs to the binary.
//! 7. `bench`: the load that measures a server, from outside. `lab`: the facts that all of this
//!    rests on, as small programs; it may be read first.
//!
//! Import rule:
//!
//! ```text
//!   main ─▶ everything        reactor ─▶ core, config, places, logging, status, trace
//!   sim ─▶ core, config (presets); never a socket, a thread or a clock
//!   places ─▶ core::{whatsat, names, clock} (questions, tickets, now), config (whom to ask, keys)
//!   trace ─▶ core (names and inputs, to tell of them)
//!   core ─▶ core; never mio, ureq, slab, log, std::net, std::thread or a clock
//!   bench ─▶ exit only, for it is a client
//!   lab ─▶ exit; logging and places::resolver, which two of its experiments are about
//!   core::{line, digits, timer_wheel} ─▶ nothing of ours; clock ─▶ digits;
//!   core::wire ─▶ digits, and types of clock and whatsat
//! ```
//!
//! mio is named in `reactor`, `bench` and `lab`, which do not know each other; ureq in `places`,
//! and in `lab` to show what it does by itself.
//!
//! What always holds, and where it is kept:
//!
//! - An `Input` is handed over only after every `Output` of the one before is carried out
//!   (`core::Server`, `reactor::Reactor`).
//! - The same seed and the same inputs give the same outputs (`core::Server`).
//! - No `ConnId` and no `Ticket` is ever given twice, so nothing need be cancelled (`core::names`).
//! - A slot is freed only when the turn has ended (`reactor`, its graveyard).
//! - Whoever has work left and will hear of no event for it is in a queue or has a timer
//!   (`reactor`, the unfinished).
//! - Reports of one client have a total order, so every server ends with the same one
//!   (`core::store`).
//! - The loop never waits for a disk, a name or a service: threads do (`logging`, `places`).
//! - Everything has a bound, and its reason stands beside it (`config::limits`).

#![forbid(unsafe_code)]

pub mod bench;
pub mod config;
pub mod core;
pub mod exit;
pub mod lab;
pub mod logging;
pub mod places;
pub mod reactor;
pub mod run_dir;
pub mod sim;
pub mod status;
pub mod trace;
