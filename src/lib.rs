//! The map of the house. (See the end of NOTES.md for the glossary.)

#![forbid(unsafe_code)]

pub mod config;
pub mod core;
pub mod exit;
pub mod logging;
pub mod places;
pub mod reactor;
pub mod run_dir;
pub mod status;
