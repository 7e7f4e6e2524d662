//! The map of the house. (See the end of NOTES.md for the glossary.)

#![forbid(unsafe_code)]

#[allow(missing_docs)]
pub mod config;
pub mod core;
pub mod exit;
pub mod places;
pub mod run_dir;
pub mod status;
