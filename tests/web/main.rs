//! The web port: who may (`access`), and who only about where (`blurred`), what each app sends is
//! understood (`apps`), who follows is told (`follow`), whatever comes is answered (`hostile`,
//! `any_bytes`), and real servers take reports, say where a client is (`port`), answer who asks for
//! more in pages (`asking`) or when the places are there (`places`), as the description of the port
//! says (`openapi`), and show clients (`page`). Those who speak MQTT have a port of their own
//! (`mqtt`).

mod access;
mod any_bytes;
mod apps;
mod asking;
mod blurred;
#[path = "../common/mod.rs"]
mod common;
mod erasing;
mod follow;
mod hostile;
mod mqtt;
mod openapi;
mod page;
mod places;
mod port;
