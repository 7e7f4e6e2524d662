//! The web port: what each app sends is understood (`apps`), whatever comes is answered
//! (`hostile`), and real servers take reports and say where clients are (`port`).

mod apps;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod port;
