//! Names that are given again: an event may name a connection that is not there any more.

use std::io;
use std::thread;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::{Experiment, Findings, House, TIMEOUT, pair};

pub const NEWCOMER: Experiment = Experiment {
    name: "newcomer",
    chapter: 6,
    title: "an old event names the connection that has the slot now",
    about: "A token is a place, and places are given again. Events of one batch were collected \
            before the first of them was handled: what they name may have gone since.",
    steps: "Two clients hang up at once, so there are two events. The handler of the first drops \
            both sockets, and a newcomer, who is well, gets the slot of the second. Then the \
            second event is handled.",
    house: "the dead keep their slots until the turn ends: `Slots::kill`, then `Slots::bury`.",
    run: newcomer,
};

fn newcomer(found: &mut Findings, _: &House) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut slots = Vec::new();
    for slot in 0..2 {
        let (far, mut near) = pair()?;
        poll.registry().register(&mut near, Token(slot), Interest::READABLE)?;
        slots.push(Some(near));
        drop(far);
    }
    let (_far, newcomer) = pair()?;
    let mut newcomer = Some(newcomer);
    thread::sleep(Duration::from_millis(50));

    let mut events = Events::with_capacity(16);
    poll.poll(&mut events, Some(TIMEOUT))?;
    let batch = events.iter().count();
    let mut hung_up_on_newcomer = false;
    for event in &events {
        let slot = event.token().0;
        match newcomer.take() {
            // The first event: both leave, and another client comes.
            Some(mut stream) => {
                slots.fill_with(|| None);
                let free = 1 - slot;
                poll.registry().register(&mut stream, Token(free), Interest::READABLE)?;
                slots[free] = Some(stream);
            }
            // The second: "the client in this slot has hung up", so it is closed.
            None if event.is_read_closed() => hung_up_on_newcomer = slots[slot].take().is_some(),
            None => {}
        }
    }
    found.show("events in the batch", 2, batch);
    let closed = if hung_up_on_newcomer { "the newcomer" } else { "nothing" };
    found.show("what the second event closes", "nothing: it has gone", closed);
    found.demand(batch == 2, "both events did not come in one batch");
    found.demand(hung_up_on_newcomer, "the second event did not name the newcomer");
    Ok(())
}
