//! Clients that are forgotten because somebody wants it: an operator, or one who may report them.
//! What comes of it in the herd, `herd_core` knows.

use super::Reactor;
use crate::status::Outcome;
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_web::access::Caller;
use herd_web::http::Answer;

impl Reactor {
    /// Forgets a client, in the whole herd. Says whether that could be done.
    pub(super) fn erase(&mut self, client: &[u8]) -> bool {
        self.tell(Input::Erase { client });
        let is_erased = self.server.is_erased(client);
        self.counts.erased += u64::from(is_erased);
        is_erased
    }

    /// `herd forget`.
    pub(super) fn erase_by_order(&mut self, client: &str) -> Outcome {
        if self.erase(client.as_bytes()) {
            Outcome::Done(format!("{client} is forgotten, here and by all that are joined"))
        } else {
            let why = "there is no room for that, or the journal takes nothing: see its log";
            Outcome::Refused(format!("{client} is not forgotten: {why}"))
        }
    }

    /// `DELETE /v1/clients/ID`: whether it was known is not said.
    pub(super) fn erase_for(&mut self, client: &[u8], caller: &Caller) -> Answer {
        if !caller.may_report(client) {
            let why = "this token may not report this client\n";
            return Answer::text(403, why.to_owned());
        }
        if self.erase_if_new(client, caller) {
            return Answer::text(200, "it is forgotten\n".to_owned());
        }
        let why = "there is no room for this now: send it again later\n";
        Answer::text(503, why.to_owned()).with_header("Retry-After", "30")
    }

    /// A caller makes a client known by forgetting it, too: it may not do that without end.
    pub(super) fn erase_if_new(&mut self, client: &[u8], caller: &Caller) -> bool {
        if self.server.is_erased(client) {
            return true;
        }
        let known = self.server.store().len();
        if self.server.store().find(client).is_none() && !self.web.callers.may_make_one(caller) {
            return false;
        }
        let is_erased = self.erase(client);
        if self.server.store().len() > known {
            self.web.callers.has_made_one(caller);
        }
        is_erased
    }
}
