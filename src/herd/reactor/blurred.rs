//! What somebody hears whose link blurs: in which square its one client is, now or as it goes on.
//! All else is refused, for every client: a question of who is near, or inside an area, would
//! find the door after all if it is asked often enough, each time of a smaller area.

use super::Reactor;
use super::asking::{geojson, unknown};
use super::web::{FOLLOW, client_in};
use herd_core::names::ConnId;
use herd_web::access::{Blurred, Caller};
use herd_web::follow::Wish;
use herd_web::http::{Answer, Method, Request};
use herd_web::{seen, unescape};

impl Reactor {
    pub(super) fn answer_blurred(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        caller: &Caller,
        blurred: &Blurred,
    ) -> Answer {
        let is_asked = matches!(request.method, Method::Get | Method::Head);
        let is_it = |id: &str| *unescape(id) == *blurred.client.as_bytes();
        match request.path {
            FOLLOW if is_asked => match Wish::parse(request.query).map(|it| it.blurred(blurred)) {
                Ok(Some(wish)) => self.begin_stream(conn, request, caller, wish),
                Ok(None) => too_much(blurred),
                Err(why) => Answer::text(400, why),
            },
            path if is_asked && client_in(path).is_some_and(is_it) => self.show_square(blurred),
            _ => too_much(blurred),
        }
    }

    fn show_square(&self, Blurred { client, blur }: &Blurred) -> Answer {
        match self.server.look_up(client.as_bytes(), self.now) {
            Some(report) => {
                let mut text = Vec::new();
                seen::write_square(&report, *blur, &mut text);
                text.push(b'\n');
                geojson(text)
            }
            None => unknown(),
        }
    }
}

fn too_much(Blurred { client, .. }: &Blurred) -> Answer {
    let why = "this link shows about where one client is, and nothing else: ask";
    Answer::text(403, format!("{why} /v1/clients/{client} or {FOLLOW}?id={client}\n"))
}
