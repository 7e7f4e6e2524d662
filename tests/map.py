"""The live map, `src/web/map`, as a browser shows it: `tests/viewer.sh` runs this.

    python3 tests/map.py HERD BROWSER [--picture FILE.png] [--axe axe.min.js]

Goal: what the page shows is what the herd knows, for eyes, hands and ears alike, and at a price
that leaves a phone its battery. Method: a herd of two servers, clients that `herd demo` moves, and
a headless Chromium that looks, presses keys and counts.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser import TIMEOUT_S, Browser, running, say, until
from net.ports import free_base

PORT = free_base(3)
NAMES = "Hill", "Dale"
# Those that the demo moves, and a stranger.
COUNT = 101
# Main-thread time of a frame, of which a screen has 16.7 ms.
FRAME_MS_GOAL = 8
FIRST_VIEW_BYTES_MAX = 80_000
# Loaded when somebody looks closer.
NEAR = "coast", "west", "middle", "east"

# What a stranger may call itself.
HOSTILE = "<img/src=x/onerror=alert(1)>\"'&amp;"

WATCH = """
globalThis.violations = [];
document.addEventListener('securitypolicyviolation', event =>
    violations.push(event.violatedDirective + ' ' + event.blockedURI));
"""


def is_same(shown, expected, what):
    assert shown == expected, f"{what}: {shown!r} instead of {expected!r}"


@contextlib.contextmanager
def herd_of_two(herd, folder):
    servers = [f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{PORT + at}"\n'
               f'peers = "127.0.0.1:{PORT + 100 + at}"\n' for at, name in enumerate(NAMES)]
    file = folder / "herd.toml"
    file.write_text('herd = "map"\nlinks = [["Hill", "Dale"]]\n' + "\n".join(servers))
    flags = ["--config", f"{file}", "--run-dir", f"{folder}/run", "--log-dir", f"{folder}/log",
             "--log-level", "off", "--keep", "off"]
    with running([[herd, "serve", name, *flags] for name in NAMES], folder):
        for at in range(len(NAMES)):
            until(f"{NAMES[at]} answers", lambda at=at: say(PORT + at, "?\n"))
        yield file


@contextlib.contextmanager
def demo(herd, file, clients):
    command = [herd, "demo", "--config", f"{file}", "--clients", f"{clients}"]
    moving = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        moving.send_signal(signal.SIGINT)
        said, _ = moving.communicate(timeout=TIMEOUT_S)
        print(said.splitlines()[-1])
        is_same(moving.returncode, 0, "how the demo ends")


class Page(Browser):
    """The map, and what it has asked for."""

    def __init__(self, program, folder):
        super().__init__(program, folder)
        self.call("Network.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)

    def show(self, words="", port=PORT + 200):
        self.events.clear()
        self.call("Page.navigate", url="about:blank")
        self.origin = f"http://127.0.0.1:{port}"
        self.call("Page.navigate", url=f"{self.origin}/map{words}")
        until("the page hears the herd", lambda: self.text("#state").startswith("Live: "))
        until("clients are there", lambda: not self.text("#state").startswith("Live: 0 "))

    def asked_for(self):
        """The URLs, and of those that have come, how many bytes that took."""
        self.ask("0")
        urls = {event["requestId"]: event["request"]["url"] for method, event in self.events
                if method == "Network.requestWillBeSent"}
        sizes = {urls[event["requestId"]]: event["encodedDataLength"]
                 for method, event in self.events if method == "Network.loadingFinished"
                 and event["requestId"] in urls}
        return list(urls.values()), sizes

    def module(self, words):
        """What a script gives that imports the page's modules as `m`."""
        names = ["globe", "clients", "answers", "fences"]
        imports = ", ".join(f"import('/map/{name}.js')" for name in names)
        script = f"Promise.all([{imports}]).then(all => Object.assign({{}}, ...all))" \
                 f".then(m => {{ {words} }})"
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                          awaitPromise=True)
        assert "exceptionDetails" not in found, (words, found)
        return found["result"].get("value")


# ---- the checks ----

def check_numbers(page):
    """The projection, the packed data and the words, without anything drawn."""
    is_same(page.module("return m.project(0, 0)"), [0.5, 0.5], "the middle of the map")
    back = page.module("return [[24.9384, 60.1699], [-179.9, -84], [180, 85]].map(([a, b]) =>"
                       "m.unproject(...m.project(a, b)))")
    for found, (east, north) in zip(back, [(24.9384, 60.1699), (-179.9, -84), (180, 85)]):
        assert abs(found[0] - east) < 1e-9 and abs(found[1] - north) < 1e-9, found
    # Helsinki to Tallinn.
    metres = page.module("return m.metresBetween(...m.project(24.9384, 60.1699),"
                         "...m.project(24.7536, 59.437))")
    assert abs(metres / 82_100 - 1) < 0.01, metres
    # Five steps a degree, one ring: 1, 2 degrees; then 0.2 east; then 200 steps south.
    ring = page.module("const bytes = [5, 1, 3, 10, 20, 2, 0, 0, 143, 3];"
                       "const [ring] = m.readLand(new Uint8Array(bytes));"
                       "return [0, 2, 4].map(at => m.unproject(ring[at], ring[at + 1]))")
    for found, expected in zip(ring, [(1, 2), (1.2, 2), (1.2, -38)]):
        assert all(abs(a - b) < 1e-6 for a, b in zip(found, expected)), ring
    towns = page.module("const names = new TextEncoder().encode('A\\nBö');"
                        "const bytes = [10, 2, 20, 1, 40, 0, 3, 1, ...names];"
                        "return m.readTowns(new Uint8Array(bytes)).map(town =>"
                        "[town.name, town.size, ...m.unproject(town.x, town.y)])")
    is_same([[name, size, round(east, 6), round(north, 6)] for name, size, east, north in towns],
            [["Bö", 1, 0.9, 2], ["A", 3, 1, 2]], "the towns, the largest first")
    words = page.module("return [0, 90, 125, 3 * 3600, 61508, 3 * 86400].map(m.duration)")
    is_same(words, ["0 s", "90 s", "2 min", "3 h", "17 h", "3 days"], "durations")
    is_same(page.module("return [120, 121, 3600, 3601].map(m.ageClass)"), [0, 1, 1, 2], "ages")
    is_same(page.module("return [0, 1.6, -1.5, 3.1].map(m.wind)"),
            ["north", "east", "west", "south"], "winds")


def check_clients(page):
    """What is kept of reports: slots, glides, trails, fences."""
    found = page.module("""
        const clients = new m.Clients();
        for (let at = 0; at < 1000; at++) clients.move(`c${at}`, at / 10, 1, 100, 0);
        for (let at = 0; at < 1000; at += 2) clients.remove(`c${at}`);
        clients.move('new', 5, 5, 100, 0);
        clients.move('new', 5.001, 5, 102, 1000);
        const slot = clients.slots.get('new');
        const [x] = clients.shown(slot, 2000);
        clients.reckon(400);
        return [clients.size, clients.speed[slot], clients.heading[slot],
            (x - m.project(5, 5)[0]) / (m.project(5.001, 5)[0] - m.project(5, 5)[0]),
            clients.counts, clients.trails[slot].length];""")
    size, speed, heading, done, counts, trail = found
    is_same((size, counts, trail), (501, [0, 501, 0], 2), "clients, their ages, a trail")
    assert abs(speed - 55.4) < 0.5 and abs(heading - 1.5708) < 0.01, found
    assert abs(done - 0.5) < 0.01, found
    found = page.module("""
        const fence = m.readFence('depot:24,60,25,61'), wrap = m.readFence('sea:170,-10,-170,10');
        return [m.judge(fence, 'a', 24.5, 60.5), m.judge(fence, 'a', 24.6, 60.5),
            m.judge(fence, 'a', 26, 60.5), m.judge(fence, 'b', 26, 60), m.judge(wrap, 'a', 179, 0),
            m.judge(wrap, 'b', 0, 0), m.readFence('depot:1,2,3') === undefined,
            m.readFence(m.fenceText(fence)).east];""")
    is_same(found, ["entered", None, "left", None, "entered", None, True, 25], "fences")


def check_answers(page):
    """What is said about a dot that does not move."""
    def why(**facts):
        usual = {"ageS": 1, "movedMetres": 500, "watchedS": 60, "skewS": 0.1, "speed": 0.1,
                 "server": "Hill", "isLive": True, "wordS": 0.2}
        return page.module(f"return m.whyStill({json.dumps({**usual, **facts})})")
    assert "It does move: 500 m in the 60 s" in why()
    assert "nothing newer has come of this client for 20 h" in why(ageS=72_100)
    assert "It does report, 5 s ago, but from the same place" in why(ageS=5, movedMetres=3)
    assert "does not hear the server now" in why(isLive=False)
    assert "Its clock is 5 min ahead" in why(ageS=-300)
    assert "was 3 h old when Hill heard it" in why(ageS=72_100, skewS=10_900)
    who = page.module("const anybody = { name: null, read: ['*'] }, jane = { name: 'jane', "
                      "read: ['a/*'] }, guest = { name: null, read: ['kiwi'], expires: 7e9 };"
                      "return [undefined, anybody, jane, guest].map(me => m.whoSees(me, 'here:1'))")
    assert all("Everybody who can reach here:1" in words for words in who[:2]), who
    assert "You, as jane: you may see a/*." in who[2], who
    assert "You, by a link that somebody has shared: you may see kiwi until" in who[3], who
    about = page.module("return m.whoSees({ name: null, read: [], blurred: { client: 'kiwi' }, "
                        "expires: 7e9 }, 'here:1')")
    assert "you may see about where kiwi is until" in about, about


def check_first_view(page):
    """Nothing foreign is asked for, and the first view is small."""
    page.show("#at=30,15,2")
    urls, sizes = page.asked_for()
    foreign = [url for url in urls if not url.startswith((f"{page.origin}/", "about:", "data:"))]
    is_same(foreign, [], "foreign requests")
    first = {url: size for url, size in sizes.items()
             if not any(url.endswith(f"/{name}.bin") for name in NEAR)}
    total = sum(first.values())
    print(f"first view: {total} bytes in {len(first)} files")
    assert len(first) >= 10 and total <= FIRST_VIEW_BYTES_MAX, first
    is_same([url for url in urls if url.endswith("/coast.bin")], [], "loaded from afar")


def check_shown(page):
    """All clients are there, in the table as on the map; a stranger's name is only text."""
    page.show()
    until("the demo is there", lambda: f"{COUNT} clients" in page.text("#state"))
    page.press("t")
    until("the table is there", lambda: page.text("#found") == f"{COUNT} clients")
    rows = page.ask("[...document.querySelectorAll('#body tr:not([hidden]) button')]"
                    ".map(button => button.textContent)")
    is_same(len(rows), 100, "rows of a page")
    assert HOSTILE in rows, rows[:5]
    is_same(page.ask("document.querySelectorAll('#body img, #body script').length"), 0, "elements")
    page.press("Escape")
    page.ask("document.querySelector('[data-sort=age]').click()")
    page.ask("document.querySelector('[data-sort=age]').click()")
    first = page.text("#body tr button")
    is_same(first, "demo/walker-99", "the oldest comes first")
    page.ask("document.querySelector('#body button').click()")
    until("its panel is open", lambda: page.text("#name") == "demo/walker-99")
    until("who has heard it", lambda: "17 h old when" in page.text("#why"))
    assert "nothing newer has come of this client for 17 h" in page.text("#why")
    assert f"Everybody who can reach 127.0.0.1:{PORT + 200}" in page.text("#who")
    page.ask("document.querySelector('#list').click()")


def check_keys(page):
    """Everything can be reached without a mouse."""
    page.show("#at=60.17,24.94,12")
    page.press("Tab")
    for _ in range(40):
        if page.ask("document.activeElement.id") == "map":
            break
        page.press("Tab")
    is_same(page.ask("document.activeElement.id"), "map", "the map has the focus")

    def view():
        at = page.ask("location.hash").split("=")[1].split("&")[0]
        return [float(part) for part in at.split(",")]
    page.press("ArrowRight", "ArrowRight", "ArrowUp", "+")
    until("the address follows", lambda: view()[2] == 12.5)
    assert view()[0] > 60.17 and view()[1] > 24.94, view()
    page.press("-", "0")
    until("all are in view", lambda: page.ask("document.querySelector('#state').textContent")
          .endswith(f"{COUNT} in view."))
    page.press("n")
    until("one is chosen", lambda: page.text("#name"))
    first = page.text("#name")
    page.press("n", "n", "p", "p")
    is_same(page.text("#name"), first, "there and back")
    page.press("f")
    is_same(page.ask("document.querySelector('#follow').ariaPressed"), "true", "it is followed")
    page.press("t")
    is_same(page.ask("document.activeElement.id"), "find", "where the table begins")
    for _ in range(8):
        page.press("Tab")
        if page.ask("document.activeElement.closest('td') !== null"):
            break
    before = page.ask("document.activeElement.textContent")
    page.press("ArrowDown")
    assert page.ask("document.activeElement.textContent") != before, before
    page.press("Enter")
    until("a row is chosen", lambda: page.text("#name") == page.ask(
        "document.activeElement.textContent"))
    page.press("Escape")
    until("it is let go", lambda: page.ask("document.querySelector('#client').hidden"))
    assert page.text("#said"), "a screen reader hears nothing"


def check_fence(page):
    """A fence is drawn, flashes and speaks; the address keeps it."""
    page.show("#at=60.17,24.94,14")
    page.ask("document.querySelector('#fence').click()")
    until("the address has it", lambda: "fence=fence-1" in page.ask("location.hash"))
    until("somebody crosses it", lambda: "fence-1" in page.text("#note")
          and ("has entered" in page.text("#note") or "has left" in page.text("#note")))


def check_still(page):
    """Who wants no motion sees steps: a frame only when something has come."""
    def drawn():
        before = page.ask("frameCount()")
        time.sleep(2)
        return page.ask("frameCount()") - before
    page.show("#at=60.17,24.94,12")
    moving = drawn()
    page.call("Emulation.setEmulatedMedia",
              features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.show("#at=60.17,24.94,12")
    resting = drawn()
    page.call("Emulation.setEmulatedMedia", features=[])
    assert resting < moving, (resting, moving)


def check_again(page, herd, file, folder):
    """A server that goes and comes again is found, without anybody's help."""
    page.show(port=PORT + 201)
    before = len(page.complaints)
    subprocess.run([herd, "stop", "Dale", "--run-dir", f"{folder}/run"], check=True,
                   stdout=subprocess.DEVNULL)
    until("it is missed", lambda: page.text("#state").startswith("Not connected"))
    flags = ["--config", f"{file}", "--run-dir", f"{folder}/run", "--log-dir", f"{folder}/log"]
    with running([[herd, "serve", "Dale", *flags, "--log-level", "off", "--keep", "off"]], folder):
        until("it is heard again", lambda: page.text("#state").startswith(f"Live: {COUNT} "))
    # What fails while no server is there is no fault of the page.
    page.call("Page.navigate", url="about:blank")
    del page.complaints[before:]


def check_blurred(page, herd, folder):
    """By a link that blurs, a client is a square: no dot, no speed, and no place in any text."""
    folder = folder / "blurred"
    folder.mkdir()
    (folder / "herd.toml").write_text(
        f'herd = "blurred"\naccess = "{folder}/access.toml"\nkey_file = "{folder}/herd.key"\n'
        f'[[server]]\nname = "Hill"\nclients = "127.0.0.1:{PORT + 2}"\n')

    def run(*words):
        return subprocess.run([herd, *words], cwd=folder, check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    run("token", "add", "jane", "--read", "kiwi")
    run("keygen", "herd.key")
    link = run("share", "kiwi", "--for", "1h", "--blur", "--config", "herd.toml").split("#")[1]
    flags = ["--config", f"{folder}/herd.toml", "--run-dir", f"{folder}/run", "--log-dir",
             f"{folder}/log", "--log-level", "off", "--keep", "off"]

    def report(position):
        return say(PORT + 2, f"IAMAT kiwi {position} {time.time():.3f}\n")
    with running([[herd, "serve", "Hill", *flags]], folder):
        until("the server answers", lambda: report("+60.1234567+024.7654321").startswith("AT "))
        page.show(f"#{link.strip()}", port=PORT + 202)
        until("its panel is open", lambda: page.text("#name") == "kiwi")
        until("who sees it", lambda: "about where kiwi is until" in page.text("#who"))
        for position in ["+60.1234567+024.7654321", "+60.1291234+024.7654321"]:
            report(position)
            until("it is somewhere", lambda: "from somewhere in the square" in page.text("#summary"))
            told = page.ask("document.body.textContent + location.hash")
            assert not any(part in told for part in ["60.123", "60.1291", "24.765"]), told
        until("it is in the next square", lambda: "60.139" in page.text("#facts"))
        assert "km/h" not in page.text("#client"), page.text("#client")
    page.call("Page.navigate", url="about:blank")


def check_axe(page, axe):
    """axe-core finds nothing, whatever is open, in both themes."""
    for theme in ["light", "dark"]:
        page.prefer(theme)
        for keys in [[], ["n"], ["n", "t"]]:
            page.show("#at=60.17,24.94,12")
            page.ask("document.querySelector('#map').focus()")
            page.press(*keys)
            page.ask(axe)
            found = page.call("Runtime.evaluate", expression="axe.run().then(all => all.violations"
                              ".map(one => [one.id, one.nodes.map(node => node.html)]))",
                              awaitPromise=True, returnByValue=True)
            is_same(found["result"]["value"], [], f"axe, {theme}, after {keys}")


def check_crowd(page):
    """Ten thousand that move are drawn frame by frame. How long a frame takes is said, and judged
    by who reads it: on a machine that has other work, the clock counts that as well."""
    page.show()
    until("all are there", lambda: page.text("#state").startswith("Live: 10001 "))
    for _ in range(6):
        page.ask("frames.length = 0")
        time.sleep(5)
        frames = sorted(page.ask("[...frames]"))
        assert len(frames) > 20, len(frames)
        middle, high = frames[len(frames) // 2], frames[len(frames) * 95 // 100]
        print(f"10,000 moving clients, {len(frames)} frames: median {middle:.1f} ms, "
              f"p95 {high:.1f} ms; the goal is {FRAME_MS_GOAL}")
        if high <= FRAME_MS_GOAL:
            return


def take_pictures(page, path):
    """For the README and for those who look: light, dark, the table, a phone."""
    stem = Path(path).with_suffix("")
    walker = "#at=60.1735,24.925,12.75&id=demo%2Fwalker-99"
    for name, theme, size, words, keys in [("", "light", (1280, 720), walker, []),
                                           ("-dark", "dark", (1280, 720), "", ["n"] * 30),
                                           ("-table", "light", (1280, 720), "", ["n", "t"]),
                                           ("-phone", "light", (390, 780), "", ["n"] * 12)]:
        page.prefer(theme)
        page.resize(*size)
        page.show(words)
        # Trails grow meanwhile.
        time.sleep(10 if name else 120)
        page.ask("document.querySelector('#map').focus()")
        page.press(*keys)
        time.sleep(2)
        page.picture(f"{stem}{name}.png")
    page.resize(1280, 800)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("herd")
    parser.add_argument("browser")
    parser.add_argument("--picture")
    parser.add_argument("--axe")
    flags = parser.parse_args()
    # Some commands are given in another directory.
    flags.herd = str(Path(flags.herd).resolve())
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        file = stack.enter_context(herd_of_two(flags.herd, folder))
        line = f"IAMAT {HOSTILE} +60.1720+024.9500 {int(time.time())}\n"
        assert say(PORT, line).startswith("AT "), line
        page = Page(flags.browser, folder)
        stack.callback(page.close)
        with demo(flags.herd, file, 100):
            if flags.picture:
                return take_pictures(page, flags.picture)
            for check in [check_first_view, check_numbers, check_clients, check_answers,
                          check_shown, check_keys, check_fence, check_still]:
                check(page)
            if flags.axe:
                check_axe(page, Path(flags.axe).read_text())
            else:
                print("==== SKIPPED: axe-core, for it is not there")
            check_again(page, flags.herd, file, folder)
            check_blurred(page, flags.herd, folder)
        with demo(flags.herd, file, 10_000):
            check_crowd(page)
        is_same(page.ask("violations"), [], "what the page's policy has forbidden")
        complaints = [it for it in page.complaints if "/v1/" not in json.dumps(it)]
        is_same(complaints, [], "the browser's complaints")
    print("the map is as it should be")


if __name__ == "__main__":
    sys.exit(main())
