"""Real servers with journals, clients that remember what they were answered, and what must hold."""

import contextlib
import itertools
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

# Generous: a machine may be busy. Only what never comes takes so long.
TIMEOUT_S = 60
NAMES = "Hill", "Jaquez", "Smith", "Campbell", "Singleton"
LINKS = [["Hill", "Jaquez"], ["Hill", "Smith"], ["Singleton", "Jaquez"], ["Singleton", "Smith"],
         ["Singleton", "Campbell"], ["Smith", "Campbell"]]
# A source of places that is loaded at once.
PLACES = "name,lat,lon\nNowhere,0,0\n"
CLIENTS = 50


class Skipped(Exception):
    """This machine lacks something."""


def until(what, look, timeout=TIMEOUT_S):
    """What `look` finds, which looks again and again until it is not nothing."""
    end = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.01)
    return found


_bases = itertools.cycle(range(27500, 27600, 5))


def free_ports():
    """The first of five ports that are free, and so are those 100, 200, 300 and 400 above them, and
    a socket that holds them: another run of this finds the port 500 above taken."""
    for _ in range(20):
        base = next(_bases)
        claim = socket.socket()
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            claim.bind(("127.0.0.1", base + 500))
            firsts = range(base, base + 500, 100)
            for port in [port for first in firsts for port in range(first, first + 5)]:
                taken = stack.enter_context(socket.socket())
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind(("127.0.0.1", port))
            return base, claim
        claim.close()
    raise SystemExit("no ports are free between 27500 and 28100")


class Herd:
    """The first servers of a herd of five, in a folder that is gone when the block has ended."""

    def __init__(self, program, count=1, keep="written", sections=""):
        self.program, self.names = program, NAMES[:count]
        self.folder = Path(tempfile.mkdtemp(prefix="herd-faults-"))
        self.running = {}
        self.base, self.claim = free_ports()
        self.journals = self.folder / "journal"
        self.configure(keep, sections)

    def configure(self, keep, sections=""):
        links = [link for link in LINKS if set(link) <= set(self.names)]
        text = f'herd = "faults"\nlinks = {json.dumps(links)}\n'
        for name in self.names:
            text += f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{self.port(name)}"\n'
        text += f'[journal]\nkeep = "{keep}"\ndir = "{self.journals}"\n{sections}'
        text += '[log]\nlevel = "events"\n[places]\nsource = "file"\nfile = "places.csv"\n'
        (self.folder / "herd.toml").write_text(text)
        (self.folder / "places.csv").write_text(PLACES)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is not None:
            for name in self.names:
                print(f"{name}: {self.read(name + '.err')} {self.read(f'log/{name}.log')}")
        for name in list(self.running):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.claim.close()

    def port(self, name):
        return self.base + NAMES.index(name)

    def start(self, name="Hill", before=(), file_bytes=None, flags=()):
        """Starts a server, after these words of another program, and waits until it answers."""
        command = [*before, self.program, "serve", name, "--config", "herd.toml", *flags]
        environment = {key: value for key, value in os.environ.items() if key[:5] != "HERD_"}

        def limit():
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        with open(self.folder / f"{name}.err", "ab") as complaints:
            server = subprocess.Popen(command, cwd=self.folder, env=environment, preexec_fn=limit,
                                      stdin=subprocess.DEVNULL, stdout=complaints,
                                      stderr=complaints)
        self.running[name] = server

    def ready(self, name="Hill"):
        """Waits until a server answers, and says whether it does or has ended."""
        server = self.running[name]
        return until(f"{name} answers", lambda: server.poll() is not None or self.status(name)) \
            and server.poll() is None

    def kill(self, name="Hill"):
        server = self.running.pop(name)
        # What traces it ends with it.
        for child in children(server.pid) or [server.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
        server.wait(TIMEOUT_S)

    def pid(self, name="Hill"):
        return (children(self.running[name].pid) or [self.running[name].pid])[0]

    def ask(self, *words):
        return subprocess.run([self.program, *words], cwd=self.folder, capture_output=True,
                              text=True, timeout=TIMEOUT_S)

    def status(self, name="Hill"):
        told = self.ask("status", name, "--json", "--config", "herd.toml")
        return json.loads(told.stdout)[0] if told.returncode == 0 else None

    def journal(self, name="Hill"):
        return self.status(name)["journal"]

    def log(self, name="Hill"):
        return self.read(f"log/{name}.log", None)

    def read(self, name, last=3000):
        """The end of a file, if there is one."""
        path = self.folder / name
        text = path.read_text(errors="replace") if path.exists() else ""
        return text if last is None else text[-last:]

    def is_damaged(self, name="Hill"):
        """Whether it has ever found that something is missing."""
        log = self.log(name)
        return "journal damaged" in log or "journal incomplete" in log

    def place(self, name="Hill"):
        return self.journals / name

    def segments(self, name="Hill"):
        return sorted(self.place(name).glob("*.herd"))

    def next_segments(self, name="Hill", count=2):
        """What its next life will write to."""
        last = self.segments(name)[-1].stem
        journal, number = last.split("-")
        return [self.place(name) / f"{journal}-{int(number) + more:08}.herd"
                for more in range(1, count + 1)]

    def first_life(self, name="Hill"):
        """Makes a journal, so that the names of its next files are known."""
        self.start(name)
        assert self.ready(name), "it has ended"
        self.kill(name)


def children(pid):
    with contextlib.suppress(OSError):
        return [int(child) for child in
                Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def connect(port, caller=None):
    """A connection to somebody who may not listen yet; a caller that is over gives up."""
    def look():
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if caller is not None and caller.is_over:
                raise
    connection = until(f"somebody listens on port {port}", look)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Talker(threading.Thread):
    """Reports clients of its own, many lines at a time, until it is told to stop or hung up on."""

    def __init__(self, port, number, first_time, pipeline=16, clients=CLIENTS, pause=0):
        super().__init__(daemon=True)
        self.port, self.number, self.time = port, number, first_time
        self.pipeline, self.clients, self.pause = pipeline, clients, pause
        # For each client: the times of its reports that were answered, and when that was heard.
        self.answered = {}
        self.sent = self.heard = self.refused = 0
        self.is_over = self.is_hung_up_on = False
        self.longest_wait = 0.0
        self.start()

    def run(self):
        try:
            with connect(self.port, self) as connection, connection.makefile("rb") as lines:
                while not self.is_over:
                    self.say_some(connection, lines)
                    time.sleep(self.pause)
        except OSError:
            self.is_hung_up_on = True

    def report(self):
        client = f"{self.number}-{random.randrange(self.clients)}"
        return f"IAMAT {client} +34.1-118.4 {self.time}\n"

    def say_some(self, connection, lines):
        said = []
        for _ in range(self.pipeline):
            said.append(self.report())
            self.time += 1
        began = time.monotonic()
        connection.sendall("".join(said).encode())
        self.sent += len(said)
        for _ in said:
            answer = lines.readline()
            if not answer.endswith(b"\n"):
                raise ConnectionResetError
            self.heard += 1
            now = time.monotonic()
            self.longest_wait = max(self.longest_wait, now - began)
            fields = answer.decode().split()
            if fields[0] == "AT":
                self.answered.setdefault(fields[3], []).append((int(fields[5]), now))
            else:
                assert fields[0] == "?", answer
                self.refused += 1

    def stop(self):
        self.is_over = True
        self.join(TIMEOUT_S)
        assert not self.is_alive(), "an answer never came"
        assert not self.is_hung_up_on, "a client was hung up on"
        assert self.heard == self.sent, f"{self.sent} lines, {self.heard} answers"


def remember(answered, talkers):
    """Adds to what was answered in all, once nobody talks any more."""
    for talker in talkers:
        talker.is_over = True
        talker.join(TIMEOUT_S)
        for client, reports in talker.answered.items():
            answered.setdefault(client, []).extend(reports)


def held(port, clients):
    """The time of each client's report, as a server's clients are told; those it knows."""
    found, clients = {}, list(clients)
    with connect(port) as connection, connection.makefile("rb") as lines:
        connection.settimeout(TIMEOUT_S)
        for begin in range(0, len(clients), 100):
            some = clients[begin:begin + 100]
            connection.sendall("".join(f"WHATSAT {client} 1 0\n" for client in some).encode())
            for client in some:
                fields = lines.readline().decode().split()
                if fields[0] == "?":
                    continue
                assert fields[0] == "AT" and fields[3] == client, fields
                found[client] = int(fields[5])
                while lines.readline() != b"\n":
                    pass
    return found


def lost(port, answered):
    """When the answers were heard to reports that a server does not hold, nor a newer one."""
    known = held(port, answered)
    return [heard for client, reports in answered.items()
            for told, heard in reports if told > known.get(client, -1)]


def demand_all(port, answered, what):
    missing = lost(port, answered)
    assert not missing, f"{what}: {len(missing)} reports that were answered are lost"
