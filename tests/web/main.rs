//! The web port: what each app sends is understood (`apps`), whatever comes is answered
//! (`hostile`), who follows is told (`follow`), and real servers take reports and say where clients
//! are (`port`).

mod apps;
#[path = "../common/mod.rs"]
mod common;
mod follow;
mod hostile;
mod port;
