"""The viewer, `src/teach/trace/viewer.html`, as a browser shows it: `tests/viewer.sh` runs this.

    python3 tests/viewer.py HERD BROWSER [--picture FILE.png]

Goal: what the page shows is what the trace says, whichever way one comes to it. Method: a herd of
Rust servers and one of asyncio twins hear the same client; their traces are merged, opened in a
headless Chromium and stepped through by keys, and each thing shown is looked up in the trace.
"""

import argparse
import contextlib
import functools
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from browser import Browser, running, say, until
from net.ports import free_base

ROOT = Path(__file__).parent.parent
NAMES = "Bailey", "Bona", "Campbell"
# The reactor's peers meet 100 above its clients, the twins where their clients are.
REACTOR_PORT = free_base(60)
ASYNCIO_PORT = REACTOR_PORT + 50


# ---- two herds and their client ----

def is_known(port, client):
    return say(port, f"WHATSAT {client} 1 1\n").startswith("AT ")


def speak(ports):
    """The script. Each of its lines is said to both herds at the same moment, or nearly so."""
    with ThreadPoolExecutor() as pool:
        def say_to(place, text):
            list(pool.map(lambda port: say(port + place, text), ports))

        every = [port + at for port in ports for at in range(len(NAMES))]
        for port in every:
            until(f"port {port} answers", lambda: say(port, "?\n"))
        for at in range(5):
            say_to(0, f"IAMAT kiwi +60.17+24.94 {at}\nWHATSAT kiwi 1 1\n")
            say_to(1, f"IAMAT moa +60.16+24.93 {at}\n")
        say_to(0, "".join(f"IAMAT crowd{at} +1-1 1\n" for at in range(1000)))
        for port in every:
            until(f"port {port} knows",
                  lambda: is_known(port, "kiwi") and is_known(port, "crowd999"))


def record(herd, folder):
    """The traces of both herds."""
    log = ["--log-dir", f"{folder}/log", "--trace"]
    keep = {"Bona": ["--keep", "synced", "--journal-dir", f"{folder}/journal"]}
    rust = [[herd, "serve", name, "--base-port", f"{REACTOR_PORT}", "--run-dir", f"{folder}/run",
             *keep.get(name, ["--keep", "off"]), *log, f"{folder}/{name}.json"] for name in NAMES]
    twin = [sys.executable, f"{ROOT}/src/teach/twin/traced.py"]
    twins = [[*twin, name, "--base-port", f"{ASYNCIO_PORT}", *log, f"{folder}/{name}-twin.json"]
             for name in NAMES]
    with running(rust + twins, folder):
        speak([REACTOR_PORT, ASYNCIO_PORT])
    return [Path(command[-1]) for command in rust + twins]


# ---- the checks ----

def is_same(shown, expected, what):
    assert shown == expected, f"{what}: {shown!r} is shown instead of {expected!r}"


class Trace:
    """What a trace says, found without the page's own reading of it."""

    def __init__(self, path):
        self.events = json.loads(path.read_text())["traceEvents"]
        names = [event for event in self.events if event["name"] == "process_name"]
        self.pids = {event["args"]["name"]: event["pid"] for event in names}
        self.labels = {pid: label for label, pid in self.pids.items()}

    def turns(self, label):
        return sorted((event for event in self.events
                       if event["name"] == "turn" and event["pid"] == self.pids[label]),
                      key=lambda turn: turn["ts"])

    def turn_of(self, hop):
        turns = self.turns(self.labels[hop["pid"]])
        return [turn for turn in turns if turn["ts"] <= hop["ts"]][-1]


def check_turn(browser, label, turn):
    """The page shows this turn, in its row and large."""
    name, engine = re.fullmatch(r"(.*) \((.*)\)", label).groups()
    n = turn["args"]["n"]
    shown = browser.text("#name")
    assert shown.startswith(f"{name}, turn {n:,} {engine}, "), f"{shown} is {label}, turn {n}"
    chosen = "[role=option][aria-selected=true]"
    is_same(browser.ask(f"document.querySelectorAll('{chosen}').length"), 1, "rows chosen")
    is_same(browser.ask(f"document.querySelector('{chosen}').dataset.n"), str(n), "the row")
    facts = dict(reversed(fact.split("\n")) for fact in
                 browser.ask("[...document.querySelectorAll('#facts div')].map(f => f.innerText)"))
    queue = "left over" if engine == "reactor" else "in _ready"
    for fact, arg in {"ready": "ready", "timers": "timers", queue: "unfinished",
                      "owing": "owing", "connections": "open"}.items():
        is_same(facts[fact], str(turn["args"][arg]), f"{label}, turn {n}: {fact}")


def check_opening(browser, trace, first):
    """It opens on what happened: the first turn in which a client was read."""
    pid = trace.pids[first]
    fill = next(event for event in sorted(trace.events, key=lambda event: event.get("ts", 0))
                if event["name"] == "fill" and event["pid"] == pid and event["args"]["bytes"]
                and event["args"]["conn"].startswith("client"))
    check_turn(browser, first, trace.turn_of(fill))
    names = browser.text("#names").split()
    is_same(names, [word for server in browser.ask("state.servers.map(label)")
                    for word in server.replace("(", "").replace(")", "").split()], "the lanes")
    assert "ms" in browser.text(".axis .bar") or "µs" in browser.text(".axis .bar"), "no axis"
    places = browser.ask("""[...document.querySelectorAll('.turn[data-n] .bar')].map(bar =>
        [bar.closest('.turn').dataset.n, bar.querySelector('.block')?.offsetWidth ?? 0,
         bar.clientWidth])""")
    assert all(drawn <= whole for _, drawn, whole in places), places


def check_share(_browser, trace):
    """What NOTES says of its picture: of one client the reactor takes 256 lines a turn."""
    taken = {}
    for event in trace.events:
        conn = event.get("args", {}).get("conn", "")
        if event["name"] == "tell" and event["args"].get("lines") and conn.startswith("client"):
            turns = trace.turns(trace.labels[event["pid"]])
            turn = next((turn for turn in turns if turn["ts"] - 0.002 <= event["ts"]
                         < turn["ts"] + turn["dur"]), None)
            if turn:
                place = event["pid"], turn["args"]["n"], conn
                taken[place] = taken.get(place, 0) + event["args"]["lines"]
    is_same(max(taken.values()), 256, "the most lines of one client in one turn")


def check_fits(browser, page):
    """Nothing is cut off, but for what ends in three dots, at any size and in both themes."""
    cut = """[...document.querySelectorAll(`.ran, .slept, .n, .facts, .column h2 > *, #name, footer,
        header, #names div, #lanes .tick`)].filter(found => found.offsetParent !== null &&
        getComputedStyle(found).textOverflow !== 'ellipsis' &&
        found.scrollWidth > found.clientWidth + 1 && found.clientWidth > 0)
        .map(found => found.outerHTML)"""
    for width, height in [(1024, 768), (1280, 800), (1920, 1080)]:
        browser.resize(width, height)
        for keys in [[], ["3", "l"], ["c", "l"]]:
            browser.open(page)
            browser.press(*keys)
            is_same(browser.ask(cut), [], f"cut off at {width} after {keys}")
            assert browser.ask("document.body.scrollWidth <= innerWidth"), width
    browser.resize(1280, 800)
    browser.open(page)


def check_long(browser, trace, first):
    """The longest turn is found by a key, then the next shorter, and back."""
    turns = sorted(trace.turns(first), key=lambda turn: -awake(trace, turn))
    browser.press("Home", "l")
    check_turn(browser, first, turns[0])
    assert browser.text("#word").startswith(f"The longest turn of {first}"), browser.text("#word")
    browser.press("l")
    check_turn(browser, first, turns[1])
    browser.press("L")
    check_turn(browser, first, turns[0])
    browser.press("ArrowDown")
    is_same(browser.text("#word"), "", "a word lasts until the next key")


def awake(trace, turn):
    asleep = [event for event in trace.events if event["name"] == "sleep"
              and event["pid"] == turn["pid"] and turn["ts"] - 0.002 <= event["ts"]
              and event["ts"] + event["dur"] <= turn["ts"] + turn["dur"] + 0.002]
    return turn["dur"] - sum(sleep["dur"] for sleep in asleep)


def check_words(browser, page, folder):
    """A key for something that is not there says so."""
    turns = [{"ph": "X", "name": "turn", "cat": "turn", "pid": 1, "tid": 1, "ts": at * 10,
              "dur": 9, "args": {"n": at, "unfinished": 0, "owing": 0}} for at in range(3)]
    name = {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "Lone (reactor)"}}
    lone = folder / "lone.json"
    lone.write_text(json.dumps({"otherData": {"schema": "herd-trace/1"},
                                "traceEvents": [name, *turns]}))
    browser.open(page)
    browser.choose_files(lone)
    until("the lone trace", lambda: browser.text("#name"))
    for key, word in [("u", "No later turn of Lone (reactor)"), ("U", "No earlier turn"),
                      ("h", "No report hops"), ("H", "No report hops"),
                      ("Enter", "No report hops in this turn"), ("Backspace", "Nothing was")]:
        browser.press("ArrowDown", "ArrowUp", key)
        assert browser.text("#word").startswith(word), (key, browser.text("#word"))


def check_steps(browser, trace, first):
    turns = trace.turns(first)
    browser.press("Home")
    check_turn(browser, first, turns[0])
    browser.press("ArrowDown", "j", "ArrowDown", "k")
    check_turn(browser, first, turns[2])
    browser.press("End")
    check_turn(browser, first, turns[-1])
    browser.press("ArrowDown", "PageUp", "Home", "ArrowUp")
    check_turn(browser, first, turns[0])
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", x=500, y=300, deltaX=0, deltaY=80)
    until("the wheel steps", lambda: browser.ask("state.turn.at") == 2)
    browser.press("Home", "u")
    leaving = [turn for turn in turns[1:] if turn["args"]["unfinished"] or turn["args"]["owing"]]
    check_turn(browser, first, (leaving or turns)[0])


def check_blocks(browser, trace, label):
    """Each thing in a turn can be stepped to, and is explained."""
    pid = trace.pids[label]
    fill = next(event for event in trace.events if event["name"] == "fill" and event["pid"] == pid
                and event["ts"] > trace.turns(label)[0]["ts"])
    turn = trace.turn_of(fill)
    browser.ask(f"location.hash = '#server={label.split()[0]}&turn={turn['args']['n']}'")
    until("the address leads there", lambda: f"turn {turn['args']['n']:,}" in browser.text("#name"))
    check_turn(browser, label, turn)
    # A merge rounds, and where one turn ends the next begins.
    end = turn["ts"] + turn["dur"] - 0.002
    inside = [event["name"] for event in trace.events if event["pid"] == pid
              and event.get("tid") == 1 and event["ph"] in "Xsf" and event["name"] != "turn"
              and turn["ts"] <= event["ts"] < end]
    shown = []
    for _ in inside:
        browser.press("ArrowRight")
        shown.append(browser.ask("state.item.name"))
        assert browser.text("#why .story").endswith("."), shown
        if shown[-1] == "fill" and "fill" not in shown[:-1]:
            is_same(browser.text("#why code"), "Connection::fill", "the function")
            assert f"{fill['args']['bytes']} bytes" in browser.text("#why .story")
    is_same(sorted(shown), sorted(inside), "the things in the turn")
    browser.press("ArrowRight")
    is_same(browser.text("#why code"), "Reactor::turn", "after the last, the turn")


def check_journal(browser, trace, label):
    """Where an answer leaves that has waited for the disk, the threads of the journal are shown."""
    pid = trace.pids[label]
    kept = next(event for event in trace.events if event["name"] == "keep"
                and event["pid"] == pid and event["args"]["released"])
    turn = trace.turn_of(kept)
    browser.ask(f"location.hash = '#server={label.split()[0]}&turn={turn['args']['n']}'")
    until("the address leads there", lambda: f"turn {turn['args']['n']:,}" in browser.text("#name"))
    browser.ask("document.querySelector('#lanes [title=sync]').click()")
    is_same(browser.text("#why code"), "Shared::sync", "the function")
    assert "the next group" in browser.text("#why .story"), browser.text("#why .story")
    rows = browser.ask("""[...document.querySelectorAll('#lanes [title]')].filter(block =>
        ['journal', 'sync'].includes(block.title)).map(block => block.title + block.style.top)""")
    tops = {row.removeprefix("journal").removeprefix("sync") for row in rows}
    is_same(len(tops), len({row.rstrip("0123456789.em") for row in rows}), "a row for each thread")


def check_hop(browser, trace, label):
    """The next hop is found, followed to where it is heard, and back."""
    browser.press("Home", "h")
    ends = {event["id"] for event in trace.events if event["ph"] == "f"}
    told = [event for event in trace.events if event["ph"] == "s" and event["id"] in ends
            and event["pid"] == trace.pids[label]]
    assert told, "no hop leaves here"
    for _ in range(len(trace.events)):
        if browser.ask("state.item.isOut && Boolean(state.item.other)"):
            break
        browser.press("h")
    name = browser.ask("state.item.id")
    told = next(event for event in trace.events if event["ph"] == "s" and event.get("id") == name)
    heard = next(event for event in trace.events if event["ph"] == "f" and event.get("id") == name)
    check_turn(browser, label, trace.turn_of(told))
    browser.press("Enter")
    check_turn(browser, trace.labels[heard["pid"]], trace.turn_of(heard))
    browser.press("Backspace")
    check_turn(browser, label, trace.turn_of(told))


def check_beside(browser, trace, labels):
    """Both are there, in columns; what one does is told beside the other's turn."""
    columns = browser.ask("[...document.querySelectorAll('.column h2')].map(h => h.innerText)")
    is_same([" ".join(column.split()[:2]) for column in columns],
            [label.replace("(", "").replace(")", "") for label in labels], "the columns")
    assert labels[1] in browser.text("#why"), "the other's moment is not told"
    browser.press("c")
    is_same(browser.ask("label(state.turn.server)"), labels[1], "the next column")
    check_turn(browser, labels[1], trace.turns(labels[1])[browser.ask("state.turn.at")])
    browser.press("c", "Home")


def check_themes(browser):
    paper = "getComputedStyle(document.body).backgroundColor"
    found = []
    for theme in ["light", "dark"]:
        browser.prefer(theme)
        found.append(browser.ask(paper))
    browser.press("d")
    is_same(browser.ask(paper), found[0], "the key makes dark light")
    browser.press("d")
    is_same(browser.ask(paper), found[1], "and light dark")
    assert found[0] != found[1], found


def check_refusals(browser, page, folder, good):
    """What is no trace gets one sentence, and a trace after it is shown."""
    browser.open(page)
    for text, sentence in [
        ("{", "is not a trace, for it is not JSON"),
        ("[1, 2]", "is JSON, but not a trace of a herd"),
        ('{"otherData":{"schema":"herd-trace/2"},"traceEvents":[]}', "not a trace of a herd"),
        ('{"otherData":{"schema":"herd-trace/1"},"traceEvents":[null,{"ph":"X"}]}', "is empty"),
    ]:
        broken = folder / "broken.json"
        broken.write_text(text)
        browser.choose_files(broken)
        until(sentence, lambda: sentence in browser.text("#complaint"))
        broken.unlink()
    browser.choose_files(*good)
    until("good traces after bad ones", lambda: browser.text("#name"))
    is_same(browser.text("#complaint"), "", "the complaint")


def check_size(browser, page, folder):
    """A full recording is shown whole, but only what is in sight is drawn."""
    turns = 16384
    name = {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "Big (reactor)"}}
    events = [name]
    for at in range(turns):
        args = {"n": at, "ready": 1, "timers": 0, "unfinished": 0, "owing": 0, "open": 1}
        for kind, category, ts, dur in [("turn", "turn", 0, 9), ("sleep", "phase", 0, 1),
                                        ("ready", "phase", 2, 6), ("fill", "work", 3, 2)]:
            events.append({"ph": "X", "name": kind, "cat": category, "pid": 1, "tid": 1,
                           "ts": at * 10 + ts, "dur": dur, "args": args})
    big = folder / "big.json"
    big.write_text(json.dumps({"otherData": {"schema": "herd-trace/1"}, "traceEvents": events}))
    browser.open(page)
    browser.choose_files(big)
    until("the big trace", lambda: browser.text("#name"))
    browser.press("End", "PageUp")
    is_same(browser.ask("state.rows.length"), turns, "turns of a full recording")
    assert browser.ask("document.querySelectorAll('*').length") < 1000


def check_names(browser):
    """The functions that the page names are there: ours in the source, asyncio's in Python."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    for name in browser.ask("Object.values(REACTOR).map(row => row[0])"):
        assert re.search(rf"\bfn {name.split('::')[-1]}\b", source), f"no function {name}"
    import asyncio
    import asyncio.selector_events
    import selectors
    places = [asyncio, asyncio.base_events, asyncio.selector_events, selectors]
    for name in browser.ask("Object.values(ASYNCIO).map(row => row[0])"):
        *owner, function = name.removeprefix("asyncio.").split(".")
        if owner == ["Task"]:
            owner, function = ["tasks", "_PyTask"], f"_Task{function}"
        found = [functools.reduce(lambda one, part: getattr(one, part, None), [*owner, function],
                                  place) for place in places]
        assert any(found), f"asyncio has no {name}"


def main():
    parser = argparse.ArgumentParser(description="Checks the viewer in a browser.")
    parser.add_argument("herd")
    parser.add_argument("browser")
    parser.add_argument("--picture", help="keeps one, of both herds side by side")
    given = parser.parse_args()
    herd = str(Path(given.herd).resolve())
    # A browser that has just ended may still tidy up its folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        traces = record(herd, folder)
        merged, page = folder / "all.json", folder / "all.html"
        subprocess.run([herd, "trace", "merge", *traces, "-o", merged], check=True)
        subprocess.run([herd, "trace", "view", merged, "-o", page], check=True)
        with contextlib.closing(Browser(given.browser, folder)) as browser:
            check_all(browser, traces, merged, page, folder)
            if given.picture:
                browser.prefer("light")
                browser.open(page)
                browser.ask("""choose(state.servers[0].turns.find(turn =>
                    turn.items.some(item => item.args.lines === 256)))""")
                browser.picture(given.picture)
    print("viewer: all checks passed")


def check_all(browser, traces, merged, page, folder):
    trace = Trace(merged)
    labels = ["Bailey (reactor)", "Bailey (asyncio)"]
    empty = ROOT / "src/teach/trace/viewer.html"
    checks = [
        (check_names, ()),
        (check_share, (trace,)),
        (check_opening, (trace, labels[0])),
        (check_fits, (page,)),
        (check_beside, (trace, labels)),
        (check_steps, (trace, labels[0])),
        (check_blocks, (trace, labels[0])),
        (check_hop, (trace, labels[0])),
        (check_long, (trace, labels[0])),
        (check_journal, (trace, "Bona (reactor)")),
        (check_themes, ()),
        (check_refusals, (empty, folder, traces)),
        (check_words, (empty, folder)),
        (check_size, (empty, folder)),
    ]
    browser.open(page)
    for check, about in checks:
        check(browser, *about)
        assert not browser.complaints, browser.complaints
        print(f"ok: {check.__name__}")


if __name__ == "__main__":
    main()
