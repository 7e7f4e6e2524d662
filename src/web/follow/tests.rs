//! A store, followers that read as they like, and what they know of it.

use std::collections::{BTreeMap, BTreeSet};

use herd_core::Change;
use herd_core::store::{HashKeys, Store};
use herd_core::wire::Report;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::reader::Reader;
use super::told::Told;
use super::*;

const KEYS: HashKeys = HashKeys { herd: (1, 2), process: (3, 4) };
const EVERYBODY: &dyn Fn(&[u8]) -> bool = &|_| true;

/// A server without a herd, and one follower.
struct House {
    store: Store,
    following: Following<()>,
    now: Duration,
    stamp: u64,
    wish: Wish,
    seat: Option<Seat>,
    reader: Reader,
    told: Told,
    events: Vec<String>,
}

impl House {
    fn new(query: &str) -> House {
        let mut following = Following::new("Bailey", "k3f9");
        following.clients_mut().keep_list();
        House {
            store: Store::new(KEYS),
            following,
            now: Duration::from_secs(1),
            stamp: 1_000,
            wish: Wish::parse(query).unwrap(),
            seat: None,
            reader: Reader::default(),
            told: Told::default(),
            events: Vec::new(),
        }
    }

    fn report(&mut self, client: &str, longitude: f64, latitude: f64) {
        self.stamp += 1;
        let line = format!("AT A +0 {client} {latitude:+}{longitude:+} {}", self.stamp);
        let report = Report::of_line(line.as_bytes()).unwrap();
        assert!(self.store.put(&report).is_news());
        self.note(Change::News(self.store.key(report.client)));
    }

    fn forget(&mut self, client: &str) {
        if self.store.remove(client.as_bytes()) {
            self.note(Change::Gone(client.as_bytes()));
        }
    }

    fn note(&mut self, change: Change<'_>) {
        self.following.note_all(&self.store, std::iter::once(change), self.now);
    }

    fn come(&mut self) {
        let reader = mem::take(&mut self.reader).again();
        let last = Some(&*reader.last_id).filter(|last| !last.is_empty());
        let wish = ((), self.wish.clone());
        self.seat = Some(self.following.join(&self.store, wish, last, self.now));
        self.reader = reader;
    }

    fn go(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.following.leave(&self.store, seat);
        }
    }

    /// Time passes, and the follower takes so much each time that it is told something. Gives how
    /// much it was told.
    fn pass(&mut self, time: Duration, room: usize) -> Result<usize, String> {
        let (end, mut bytes) = (self.now + time, 0);
        while let Some(due) = self.following.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            for seat in self.following.take_due(self.now) {
                let mut text = Vec::new();
                let when = (self.now, room);
                let served = self.following.serve(&self.store, seat, when, EVERYBODY, &mut text);
                assert_ne!(served, Served::TooMany);
                bytes += text.len();
                for event in self.reader.take(&text) {
                    self.told.take(&event)?;
                    self.events.push(format!("{} {}", event.name, event.data));
                }
            }
        }
        self.now = end;
        Ok(bytes)
    }

    /// Who there is, and where.
    fn clients(&self, area: Option<Area>) -> BTreeMap<String, String> {
        let reports = self.store.reports().filter_map(|report| {
            let at = wire::position(report.position)?;
            let client = String::from_utf8_lossy(report.client).into_owned();
            let time = report.stamp.whole_seconds();
            let place = format!("{:?},{:?},{time}", at.longitude, at.latitude);
            area.is_none_or(|area| area.contains(at)).then_some((client, place))
        });
        reports.collect()
    }
}

#[derive(Clone, Debug)]
enum Act {
    Report(u8, u8, u8),
    Forget(u8),
    Pass(u16, usize),
    Break,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u8..12, 0u8..8, 0u8..3).prop_map(|(who, x, y)| Act::Report(who, x, y)),
        1 => (0u8..12).prop_map(Act::Forget),
        3 => (0u16..400, prop_oneof![Just(0), Just(ROOM_BYTES_MIN), Just(48_000)])
            .prop_map(|(time, room)| Act::Pass(time, room)),
        1 => Just(Act::Break),
    ]
}

fn run(query: &str, acts: &[Act]) -> Result<House, String> {
    let mut house = House::new(query);
    house.come();
    for act in acts {
        match *act {
            Act::Report(who, x, y) => {
                house.report(&format!("c{who}"), f64::from(x) / 2.0 + 0.25, f64::from(y) + 0.5);
            }
            Act::Forget(who) => house.forget(&format!("c{who}")),
            Act::Pass(ms, room) => {
                house.pass(Duration::from_millis(ms.into()), room)?;
            }
            Act::Break => {
                house.go();
                house.come();
            }
        }
        house.following.check_invariants(&house.store);
    }
    house.pass(Duration::from_secs(5), 48_000)?;
    Ok(house)
}

proptest! {
    // The same cases each time: a change is judged by what it changes.
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    /// Goal: whatever happens, however slowly it reads and however often its stream breaks, who
    /// follows knows in the end what the server holds, and never hears of somebody who leaves and
    /// has not come.
    #[test]
    fn a_follower_ends_with_what_is_held(acts in prop::collection::vec(act(), 1..120)) {
        let area = Area::parse("1,0,3,2").unwrap();
        for query in ["", "prefix=c1", "id=c1&id=c3", "bbox=1,0,3,2", "bbox=-170,-10,3,2"] {
            let house = run(query, &acts).map_err(TestCaseError::fail)?;
            let area = match query.split_once('=') {
                Some(("bbox", text)) => Area::parse(text),
                _ => None,
            };
            let mut expected = house.clients(area);
            expected.retain(|client, _| match query {
                "prefix=c1" => client.starts_with("c1"),
                "id=c1&id=c3" => client == "c1" || client == "c3",
                _ => true,
            });
            prop_assert_eq!(&house.told.clients, &expected, "{}: {:#?}", query, house.events);
            prop_assert!(house.told.is_ready);
        }
        let inside: BTreeSet<_> = run("", &acts).unwrap().clients(Some(area)).into_keys().collect();
        for query in ["fence=f:1,0,3,2", "fence=f:1,0,3,2&dwell=1"] {
            let house = run(query, &acts).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&house.told.inside, &inside, "{}: {:#?}", query, house.events);
        }
    }
}

/// Goal: a follower hears the newest of each client and no more often than it wants, whether it is
/// in time or not, and what it has not read costs nothing.
#[test]
fn who_reads_slowly_hears_the_newest() {
    let mut house = House::new("every=1000");
    house.come();
    house.pass(Duration::from_millis(10), 48_000).unwrap();
    assert_eq!(house.events.len(), 2, "hello and ready: {:?}", house.events);
    house.report("kiwi", 1.0, 1.0);
    house.pass(Duration::from_millis(10), 48_000).unwrap();
    assert_eq!(house.events[2], "move [[\"kiwi\",1,1,1001]]", "the first is told at once");
    let before = house.following.bytes_of(0);
    for second in 0..100 {
        house.report("kiwi", 2.0, f64::from(second) / 2.0);
        house.report("fig", 2.0, 3.0);
        house.pass(Duration::from_millis(50), 0).unwrap();
    }
    assert_eq!((house.events.len(), house.following.bytes_of(0)), (3, before));
    house.pass(Duration::from_secs(2), 48_000).unwrap();
    assert_eq!(house.events[3], "lag {\"ms\":5000}");
    assert_eq!(house.events[4], "move [[\"kiwi\",2,49.5,1200],[\"fig\",2,3,1201]]");
    house.pass(Duration::from_secs(40), 48_000).unwrap();
    assert_eq!(house.events.len(), 5, "comments are no events");
}

/// Goal: what has no room in a turn is told in the next ones.
#[test]
fn what_has_no_room_is_told_later() {
    for query in ["bbox=0,0,2,2", ""] {
        let mut house = House::new(query);
        (0..2_000).for_each(|number| house.report(&format!("c{number}"), 1.0, 1.0));
        house.come();
        let bytes = house.pass(Duration::from_secs(1), ROOM_BYTES_MIN).unwrap();
        assert!(house.told.clients.len() == 2_000 && bytes > 4 * ROOM_BYTES_MIN);
        assert_eq!(house.events.last().map(|it| &**it), Some("ready {}"));
    }
}

/// Goal: after a resume each change is told once; a stranger's number, or that of another boot,
/// brings everything.
#[test]
fn a_stream_goes_on_where_it_broke() {
    let mut house = House::new("");
    (0..1_000).for_each(|number| house.report(&format!("c{number}"), 1.0, 1.0));
    house.come();
    house.pass(Duration::from_secs(1), 48_000).unwrap();
    assert_eq!(house.told.clients.len(), 1_000);
    house.go();
    (0..30).for_each(|number| house.report(&format!("c{}", number % 3), 2.0, 2.0));
    house.forget("c7");
    house.events.clear();
    house.come();
    house.pass(Duration::from_secs(1), 48_000).unwrap();
    let [hello, changes @ .., ready] = &*house.events else { panic!("{:?}", house.events) };
    assert!(hello.contains("\"epoch\":\"k3f9\",\"resumed\":true"), "{hello}");
    // Who changed while nobody followed is told in any order.
    let told = changes.join(" ");
    let gone = "gone {\"id\":\"c7\",\"why\":\"expired\"}";
    for change in ["[\"c0\",2,2,2028]", "[\"c1\",2,2,2029]", "[\"c2\",2,2,2030]", gone] {
        assert_eq!(told.matches(change).count(), 1, "{told}");
    }
    assert_eq!(told.matches("\"c").count(), 4, "and nothing else: {told}");
    assert_eq!(ready, "ready {}", "it may have broken before the first");
    for other in ["Bailey.k3f8.1", "Bailey.k3f9.99999", "Bailey.k3f9.", "x"] {
        house.go();
        house.events.clear();
        house.reader.last_id = other.to_owned();
        house.come();
        house.pass(Duration::from_secs(1), 48_000).unwrap();
        assert!(house.events[0].contains("\"resumed\":false"), "{other}: {}", house.events[0]);
        assert_eq!(house.told.clients.len(), 999);
    }
}

/// Goal: narrow followers have no turn for what is none of their business.
#[test]
fn others_changes_wake_nobody() {
    let check = |query: &str, is_woken: bool| {
        let mut house = House::new(query);
        house.come();
        house.pass(Duration::from_millis(100), 48_000).unwrap();
        (0..100).for_each(|number| house.report(&format!("c{number}"), 1.1, 1.1));
        let due = house.following.due().unwrap();
        assert_eq!(due == house.now, is_woken, "{query}");
    };
    check("id=kiwi", false);
    check("id=c7", true);
    check("bbox=1.2,1.2,1.3,1.3", false);
    check("bbox=1,1,1.2,1.2", true);
    check("fence=f:40,40,41,41", false);
    check("", true);
}

/// Goal: a border is not crossed by jitter, and who may not be read is not there.
#[test]
fn jitter_and_strangers_are_not_told() {
    let mut house = House::new("fence=depot:1,1,2,2&hysteresis=1000");
    house.come();
    for longitude in [1.5, 2.005, 1.995, 2.008, 1.99, 2.1, 2.005, 1.9] {
        house.report("kiwi", longitude, 1.5);
        house.pass(Duration::from_millis(300), 48_000).unwrap();
    }
    let crossings = house.told.crossings.iter().map(|(event, _)| &**event);
    assert_eq!(Vec::from_iter(crossings), ["enter", "exit", "enter"]);
    let seat = house.following.join(&house.store, ((), Wish::parse("").unwrap()), None, house.now);
    let mut text = Vec::new();
    let nobody = |_: &[u8]| false;
    house.following.serve(&house.store, seat, (house.now, 48_000), &nobody, &mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("event: ready") && !text.contains("kiwi"), "{text}");
}

/// Goal: a follower that waits takes at most 512 bytes, and one of an area four more for each
/// client inside, with an eighth of them to spare. Method: the allocator counts what 128 of them
/// leave behind that were told everything.
#[test]
fn an_idle_follower_is_small() {
    const FOLLOWERS: usize = 128;
    let taken = |query: &str, clients: usize| {
        let mut house = House::new("");
        (0..clients).for_each(|number| house.report(&format!("c{number}"), 1.0, 1.0));
        let come = |house: &mut House| {
            let House { store, following, now, .. } = house;
            for _ in 0..FOLLOWERS {
                following.join(store, ((), Wish::parse(query).unwrap()), None, *now);
            }
            let mut text = Vec::new();
            for _ in 0..8 {
                *now += Duration::from_millis(50);
                for seat in following.take_due(*now) {
                    text.clear();
                    following.serve(store, seat, (*now, 48_000), EVERYBODY, &mut text);
                }
            }
        };
        // What is kept once for all of them is there.
        come(&mut house);
        let left = allocation_counter::measure(|| come(&mut house));
        usize::try_from(left.bytes_current).unwrap() / FOLLOWERS
    };
    let alone = ["", "id=c1", "prefix=c", "bbox=0,0,2,2", "fence=f:0,0,2,2"].map(|it| taken(it, 1));
    assert!(alone.iter().all(|bytes| (100..=512).contains(bytes)), "{alone:?}");
    let beside = taken("bbox=0,0,2,2", 1_050) - taken("bbox=0,0,2,2", 50);
    assert!((4_000..=4_500).contains(&beside), "{beside} bytes for a thousand clients");
}

/// Goal: more than ten thousand inside are told to look elsewhere.
#[test]
fn an_area_has_a_bound() {
    let mut house = House::new("bbox=0,0,10,10");
    (0..10_001).for_each(|number| house.report(&format!("c{number}"), 1.0, 1.0));
    house.come();
    let mut served = Served::Part;
    let mut text = Vec::new();
    for _ in 0..100 {
        text.clear();
        let when = (house.now, 48_000);
        served = house.following.serve(&house.store, 0, when, EVERYBODY, &mut text);
        assert!(text.len() < 64 * 1024);
        if served != Served::Part {
            break;
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert!(served == Served::TooMany && text.contains("event: bye"), "{served:?}");
}

/// Goal: a subscriber of MQTT has one retained message of each client that its filter asks for,
/// then the newest of each that changes, and an empty one of each that is gone.
#[test]
fn subscribers_have_messages() {
    use crate::mqtt::Filter as Topics;
    use crate::mqtt::far_end::{Heard, hear};
    let mut house = House::new("");
    house.wish = Wish::of_topics(Topics::parse("home/jane/+").unwrap());
    let tell = |house: &mut House| {
        house.now += Duration::from_secs(20);
        let mut bytes = Vec::new();
        for seat in house.following.take_due(house.now) {
            let when = (house.now, 48_000);
            house.following.serve(&house.store, seat, when, EVERYBODY, &mut bytes);
        }
        let mut messages = Vec::new();
        while let Some(heard) = hear(&mut bytes) {
            let Heard::Message { topic, payload, is_retained } = heard else { panic!("{heard:?}") };
            let payload = String::from_utf8(payload).unwrap();
            messages.push(format!("{topic} {is_retained} {payload}"));
        }
        messages.sort();
        messages
    };
    for client in ["jane/phone", "jane/a%20b", "jane/a+b", "jane", "fig/phone"] {
        house.report(client, 24.5, 60.25);
    }
    house.come();
    let message = |name: &str, letters: &str, time: u64| {
        format!(
            "home/jane/{name} {{\"_type\":\"location\",\"tid\":\"{letters}\",\"lat\":60.25,\
             \"lon\":24.5,\"tst\":{time}}}"
        )
    };
    let with = |retained: &str, message: String| message.replacen(" {", retained, 1);
    let both = [("a b", "0b", 1_002), ("phone", "ne", 1_001)];
    let both = both.map(|(name, letters, time)| with(" true {", message(name, letters, time)));
    assert_eq!(tell(&mut house), both);
    assert_eq!(tell(&mut house), [""; 0], "who is told by MQTT is sent no comments");
    house.report("jane/phone", 1.0, 1.0);
    house.report("jane/phone", 24.5, 60.25);
    house.report("fig/phone", 24.5, 60.25);
    assert_eq!(tell(&mut house), [with(" false {", message("phone", "ne", 1_007))]);
    house.forget("jane/phone");
    house.forget("jane/a+b");
    assert_eq!(tell(&mut house), ["home/jane/phone false "]);
}
