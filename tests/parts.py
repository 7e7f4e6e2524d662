#!/usr/bin/env python3
"""A herd on the real engine whose clients are divided: six servers, 32 parts, two copies of each.
Each hears and holds its share; a WHATSAT about a client that others hold is asked and answered; with
two servers killed, a client that one living server knows is found by all; while clients report and
ask, one server gives all its parts to the others and gets them back, and all six are restarted one
after the other. It says loudly what it could not do.

    tests/parts.py [--herd PATH] [--nats PATH]... [--seconds N] [--rate N]
"""

import argparse
import os
import random
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import engine
from engine import CONTEXT, Cluster, Herd, Writing, fail, p99

engine.SERVERS[:] = ["Anna", "Bert", "Cleo", "Dora", "Emil", "Faye"]
SERVERS = engine.SERVERS
PARTS, COPIES = 32, 2
SHARE = COPIES / len(SERVERS)
DIVIDED = f"parts = {PARTS}\ncopies = {COPIES}\n"
# How long servers may take to notice that others do not answer any more.
NOTICED = 6
# Questions to each server.
TIMES = 400
# A question to another server is so many times slower than one to nobody at most, by their medians.
RATIO_MAX = 50


def metrics(herd: Herd, name: str) -> dict:
    """What the server measures, by its admin socket."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(herd.dir / "run" / f"{name}.sock"))
        stream.sendall(b"metrics\n")
        with stream.makefile("r") as lines:
            samples = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {series: float(value) for series, value in samples}


def is_ready(herd: Herd, name: str) -> bool:
    try:
        return metrics(herd, name).get("herd_ready") == 1
    except OSError:
        return False


def until(is_so, what: str, seconds: float = 60):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            fail(what)
        time.sleep(0.1)


def until_complete(herd: Herd):
    """All has come to all holders that others have told."""
    def is_so():
        engines = [it.get("engine") or {} for it in herd.status().values()]
        complete = [it for it in engines if it.get("parts") == it.get("parts_complete", -1)]
        return len(complete) == len(SERVERS)
    until(is_so, "not all parts are complete")


class Asker:
    """A client of one server that asks where others are."""

    def __init__(self, herd: Herd, name: str):
        self.stream = socket.create_connection(("127.0.0.1", herd.base + SERVERS.index(name)))
        self.answers = self.stream.makefile("r")

    def ask(self, client: str):
        """The AT line, or `?` and what was asked, and how long it took."""
        began = time.monotonic()
        self.stream.sendall(f"WHATSAT {client} 1 1\n".encode())
        line = self.answers.readline()
        if line.startswith("AT "):
            while self.answers.readline().strip():
                pass
        if not line.endswith("\n"):
            raise ConnectionError("it has hung up")
        return line.rstrip("\n"), time.monotonic() - began


class Load(Writing):
    """Clients of each server, which connect again if it hangs up, and then first say again what was
    not answered."""

    def __init__(self, herd: Herd, rate: float):
        self.is_over, self.results, self.processes = CONTEXT.Event(), CONTEXT.Queue(), []
        self.began = time.monotonic()
        for at in range(len(SERVERS)):
            given = (herd.base + at, at, rate / len(SERVERS), self.is_over, self.results)
            self.processes.append(CONTEXT.Process(target=stubborn, args=given, daemon=True))
            self.processes[-1].start()


def stubborn(port: int, at: int, rate: float, is_over, results):
    answered, waits, number, owed, stream = {}, [], 0, [], None
    count = max(1, int(rate * 0.02))
    while owed or not is_over.is_set():
        names = owed or [f"c{at}-{(number + one) % engine.CLIENTS}" for one in range(count)]
        owed = names
        now, sent = f"{time.time():.6f}", time.monotonic()
        try:
            if stream is None:
                stream = socket.create_connection(("127.0.0.1", port))
                answers = stream.makefile("r")
            stream.sendall("".join(f"IAMAT {it} +34.1-118.4 {now}\n" for it in names).encode())
            for name in names:
                line = answers.readline()
                if not line.endswith("\n"):
                    raise ConnectionError("it has hung up")
                if not line.startswith("AT "):
                    results.put((at, None, f"{SERVERS[at]} answered {line!r}"))
                    return
                answered[name] = line.rstrip("\n")
        except OSError:
            stream = None
            time.sleep(0.05)
            continue
        owed, number = [], number + len(names)
        waits.append(time.monotonic() - sent)
        time.sleep(max(0.0, 0.02 - waits[-1]))
    results.put((at, answered, (number, waits)))


class Curious(threading.Thread):
    """Asks those servers that are ready about clients that are known, again and again."""

    def __init__(self, herd: Herd, clients: list):
        super().__init__(daemon=True)
        self.herd, self.clients, self.is_over = herd, clients, False
        self.closed, self.asked, self.unknown = set(), 0, []
        self.start()

    def run(self):
        askers = {}
        while not self.is_over:
            name = random.choice(SERVERS)
            if name in self.closed:
                askers.pop(name, None)
                continue
            client = random.choice(self.clients)
            try:
                if name not in askers:
                    askers[name] = Asker(self.herd, name)
                line, _ = askers[name].ask(client)
            except OSError:
                askers.pop(name, None)
                continue
            self.asked += 1
            if not line.startswith("AT "):
                self.unknown.append((name, line))
            time.sleep(0.002)

    def end(self):
        self.is_over = True
        self.join()
        print(f"  {self.asked} WHATSATs meanwhile, {len(self.unknown)} unknown", flush=True)
        if self.unknown:
            fail(f"somebody knew them: {self.unknown[0]}")


def shares(herd: Herd, answered: dict, before: dict, whole_bytes: float):
    """Each server hears its share of what others have heard first, and holds that of all clients
    and its own."""
    status, after = herd.status(), {name: metrics(herd, name) for name in SERVERS}

    def grown(name: str, series: str) -> float:
        return after[name][series] - before[name][series]

    own = {name: grown(name, 'herd_commands_total{command="iamat"}') for name in SERVERS}
    known, taken = [], []
    for name in SERVERS:
        heard = grown(name, 'herd_engine_lines_total{direction="received"}')
        share = heard / (sum(own.values()) - own[name])
        known.append(status[name]["clients_known"] / len(answered))
        taken.append(after[name]["herd_store_bytes"] / whole_bytes)
        print(f"  {name} holds {status[name]['engine']['parts']} parts, hears {share:.3f} of what "
              f"others have heard, knows {known[-1]:.3f} of all clients, in {taken[-1]:.3f} of the "
              "memory", flush=True)
        if not 0.9 * SHARE <= share <= 1.1 * SHARE:
            fail(f"{name} hears {share:.3f} and not {SHARE:.3f}")
    known, taken = sum(known) / len(SERVERS), sum(taken) / len(SERVERS)
    print(f"  on the average {known:.3f} of all clients, {taken:.3f} of the memory", flush=True)
    if known > 0.55 or taken > 0.55:
        fail("that is more than half")


def ask_all(herd: Herd, names: list, answered: dict):
    """Servers are asked about clients that one of them knows, and must know as much."""
    known = {name: herd.lines(name) for name in names}
    alive = sorted({client for lines in known.values() for client in lines})
    times, wrong = {True: [], False: []}, []
    for name in names:
        asker = Asker(herd, name)
        for client in random.sample(alive, TIMES):
            line, took = asker.ask(client)
            times[client in known[name]].append(took)
            if line != answered[client]:
                wrong.append((name, line, answered[client]))
    held, asked = sorted(times[True]), sorted(times[False])
    ratio = asked[len(asked) // 2] / held[len(held) // 2]
    print(f"  of {len(held) + len(asked)} WHATSATs {len(wrong)} wrong; held here p50 "
          f"{1000 * held[len(held) // 2]:.2f} ms, p99 {1000 * p99(held):.2f}; elsewhere p50 "
          f"{1000 * asked[len(asked) // 2]:.2f} ms ({ratio:.1f} times), p99 "
          f"{1000 * p99(asked):.2f}; load {os.getloadavg()[0]:.1f}", flush=True)
    if wrong:
        fail(f"somebody knew better: {wrong[0]}")
    return ratio


def report_all(herd: Herd) -> dict:
    """Each client reports once."""
    answered = {}
    for at in range(len(SERVERS)):
        stream = socket.create_connection(("127.0.0.1", herd.base + at))
        answers = stream.makefile("r")
        names = [f"c{at}-{number}" for number in range(engine.CLIENTS)]
        now = f"{time.time():.6f}"
        for first in range(0, len(names), 100):
            some = names[first:first + 100]
            stream.sendall("".join(f"IAMAT {it} +34.1-118.4 {now}\n" for it in some).encode())
            answered.update((name, answers.readline().rstrip("\n")) for name in some)
    return answered


def whole(program: str, dir: Path, cluster: Cluster) -> float:
    """The memory of reports where every server holds all."""
    herd = Herd(program, dir, cluster)
    try:
        herd.until_up()
        answered = report_all(herd)
        herd.until_equal(30)
        found = [metrics(herd, name) for name in SERVERS]
        if any(it["herd_clients"] != len(answered) for it in found):
            fail("not all hold all")
        return sum(it["herd_store_bytes"] for it in found) / len(found)
    finally:
        herd.stop()
        (dir / "herd.key").unlink()


def roll(herd: Herd, answered: dict, rate: float):
    """All servers are restarted, one after the other."""
    load, curious = Load(herd, rate), Curious(herd, sorted(answered))
    for name in SERVERS:
        curious.closed.add(name)
        process = herd.processes[name]
        process.send_signal(signal.SIGTERM)
        if process.wait(timeout=60) != 0:
            fail(f"{name} has ended with {process.returncode}")
        herd.start(name)
        until(lambda name=name: is_ready(herd, name), f"{name} does not become ready")
        curious.closed.discard(name)
    calm_down(herd, answered, load, curious, "all restarted")


def move(herd: Herd, answered: dict, rate: float):
    """One server gives all its parts to the others, and gets them back, by reloads."""
    load, curious = Load(herd, rate), Curious(herd, sorted(answered))
    giver, nothing = SERVERS[-1], "holds = false\n"
    line = f'name = "{giver}"\n'
    for old, new, held in ((line, line + nothing, 0), (nothing, "", SHARE * PARTS)):
        for name in random.sample(SERVERS, len(SERVERS)):
            file = herd.dir / f"{name}.toml"
            file.write_text(file.read_text().replace(old, new))
            herd.processes[name].send_signal(signal.SIGHUP)
            time.sleep(0.3)
        began = time.monotonic()

        def has_moved():
            engines = {name: it["engine"] for name, it in herd.status().items()}
            moving = sum(it["parts_moving"] for it in engines.values())
            return moving == 0 and abs(engines[giver]["parts"] - held) < 1

        until(has_moved, "parts do not move")
        until_complete(herd)
        print(f"  {giver} holds {held:.0f} parts after {time.monotonic() - began:.1f} s", flush=True)
    calm_down(herd, answered, load, curious, "parts have moved")


def calm_down(herd: Herd, answered: dict, load: Load, curious: Curious, what: str):
    """What was answered meanwhile is where it should be."""
    curious.end()
    later, reports, per_second, waits = load.end()
    print(f"  {what}: {reports} reports, {per_second:.0f}/s, IAMAT p99 {1000 * p99(waits):.1f} ms",
          flush=True)
    answered.update(later)
    time.sleep(NOTICED)
    until_complete(herd)
    known = [herd.lines(name) for name in SERVERS]
    for client, line in answered.items():
        copies = [lines[client] for lines in known if client in lines]
        # Another one may be a home's, of which its client knows no newer.
        if copies.count(line) < COPIES:
            fail(f"{line!r} was answered, and there is {copies}")


def run(program: str, nats: str, seconds: float, rate: float):
    with tempfile.TemporaryDirectory() as home:
        dir = Path(home)
        cluster = Cluster(nats, dir)
        herd = None
        try:
            whole_bytes = whole(program, dir, cluster)
            herd = Herd(program, dir, cluster, DIVIDED)
            herd.until_up()
            until_complete(herd)
            answered = report_all(herd)
            time.sleep(1)
            before = {name: metrics(herd, name) for name in SERVERS}
            writing = Writing(herd, rate)
            time.sleep(seconds)
            later, reports, per_second, waits = writing.end()
            answered.update(later)
            time.sleep(2)
            print(f"  {reports} reports, {per_second:.0f}/s, IAMAT p99 {1000 * p99(waits):.1f} ms",
                  flush=True)
            shares(herd, answered, before, whole_bytes)
            ratio = ask_all(herd, SERVERS, answered)
            if ratio > RATIO_MAX:
                fail(f"to ask another server takes {ratio:.0f} times as long")
            move(herd, answered, rate)
            roll(herd, answered, rate)
            dead = random.sample(SERVERS, 2)
            for name in dead:
                herd.processes[name].kill()
                herd.processes[name].wait()
            time.sleep(NOTICED)
            print(f"  {' and '.join(dead)} are killed", flush=True)
            ask_all(herd, [name for name in SERVERS if name not in dead], answered)
        finally:
            if herd:
                herd.stop()
            cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", default="target/release/herd")
    parser.add_argument("--nats", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=2000, help="reports a second in all")
    arguments = parser.parse_args()
    for nats in engine.versions(arguments.nats):
        run(str(Path(arguments.herd).absolute()), nats, arguments.seconds, arguments.rate)


if __name__ == "__main__":
    main()
