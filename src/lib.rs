//! The map of the house. (See the end of NOTES.md for the glossary.)

#![forbid(unsafe_code)]

pub mod config;
pub mod core;
pub mod logging;
pub mod places;
