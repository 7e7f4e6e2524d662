//! The web port: what each app sends is understood (`apps`), who follows is told (`follow`),
//! whatever comes is answered (`hostile`), and real servers take reports, say where a client is
//! (`port`), answer who asks for more in pages (`asking`) and show them (`page`).

mod apps;
mod asking;
#[path = "../common/mod.rs"]
mod common;
mod follow;
mod hostile;
mod page;
mod port;
