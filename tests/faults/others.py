"""The same faults for the herd and for others that keep what they answer: Redis and NATS.

One server of each, which clients tell their newest number, 16 at a time. Nothing is demanded of the
others: what they have lost is counted and said. They promise other things, and say so.
"""

import base64
import bisect
import contextlib
import json
import random
import shutil
import socket
import subprocess
import time

from faults.damage import spoil
from faults.full import mount
from faults.herds import TIMEOUT_S, Herd, Skipped, Talker, until
from faults.herds import held as held_by_herd
from faults.power import Disk

NAMES = "herd written", "herd synced", "Redis everysec", "Redis always", "NATS JetStream"
CLIENTS = 50


class Server:
    """One of them, and the folder that it keeps its files in."""

    # Of the herd, everything is demanded.
    is_ours = False
    # How long a question takes at most whether it is there.
    HELLO_S = 5

    def __init__(self, folder, port):
        self.folder, self.port, self.process = folder, port, None

    def start(self):
        """Says whether it answers, and has not ended."""
        self.folder.mkdir(exist_ok=True)
        with open(self.folder.parent / "said", "ab") as said:
            self.process = subprocess.Popen(self.command(), cwd=self.cwd(), stdout=said,
                                            stdin=subprocess.DEVNULL, stderr=said)
        try:
            until(f"{self.name} answers", lambda: self.process.poll() is not None or self.answers())
        except AssertionError:
            if self.is_ours:
                raise
            self.kill()
        return self.process.poll() is None

    def begin(self):
        if not self.start():
            raise Skipped("it does not start")

    def look(self, clients):
        """The newest number of each client that it knows, or `None` if it cannot be asked."""
        try:
            return self.held(clients)
        except (OSError, ValueError):
            if self.is_ours:
                raise
            return None

    def cwd(self):
        return self.folder

    def answers(self):
        with contextlib.suppress(OSError, ValueError):
            return self.hello()
        return False

    def kill(self):
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=self.HELLO_S)
        return connection, connection.makefile("rb")


class Redis(Server):
    def __init__(self, folder, port, policy):
        super().__init__(folder, port)
        self.policy, self.name = policy, f"Redis {policy}"

    def command(self):
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "yes", "--appendfsync", self.policy]

    def hello(self):
        connection, lines = self.connect()
        with connection:
            connection.sendall(b"PING\r\n")
            return lines.readline().startswith(b"+PONG")

    def greet(self, connection, lines):
        pass

    def say(self, client, number):
        return f"SET {client} {number}\r\n".encode()

    def is_kept(self, lines):
        """Whether the next answer says so; `None`: there is none any more."""
        line = lines.readline()
        return line.startswith(b"+OK") if line.endswith(b"\n") else None

    def held(self, clients):
        found = {}
        connection, lines = self.connect()
        with connection:
            for client in clients:
                connection.sendall(f"GET {client}\r\n".encode())
                length = int(lines.readline()[1:])
                if length >= 0:
                    found[client] = int(lines.read(length + 2))
        return found


class Nats(Server):
    """A stream that holds the newest of each subject, as its own store of keys does."""

    name = "NATS JetStream"
    STREAM = {"name": "R", "subjects": ["r.*"], "storage": "file", "max_msgs_per_subject": 1}

    def command(self):
        return ["nats-server", "--addr", "127.0.0.1", "--port", str(self.port), "--jetstream",
                "--store_dir", str(self.folder)]

    def hello(self):
        answer = self.ask("$JS.API.STREAM.CREATE.R", self.STREAM)
        return "config" in answer

    def greet(self, connection, lines):
        connection.sendall(b'CONNECT {"verbose":false}\r\nSUB _IN.* 1\r\n')

    def say(self, client, number):
        number = str(number)
        return f"PUB r.{client} _IN.{number} {len(number)}\r\n{number}\r\n".encode()

    def is_kept(self, lines):
        answer = self.read(lines)
        return None if answer is None else "seq" in answer

    @staticmethod
    def read(lines):
        """The next message."""
        while (line := lines.readline()).endswith(b"\n"):
            if line.startswith(b"MSG "):
                length = int(line.split()[-1])
                text = lines.read(length + 2)
                return json.loads(text) if len(text) == length + 2 else None
        return None

    def ask(self, subject, request):
        connection, lines = self.connect()
        with connection:
            text = json.dumps(request)
            self.greet(connection, lines)
            connection.sendall(f"PUB {subject} _IN.0 {len(text)}\r\n{text}\r\n".encode())
            return self.read(lines) or {}

    def held(self, clients):
        found = {}
        for client in clients:
            answer = self.ask("$JS.API.STREAM.MSG.GET.R", {"last_by_subj": f"r.{client}"})
            if message := answer.get("message"):
                found[client] = int(base64.b64decode(message["data"]))
        return found


class OfHerd(Server):
    is_ours = True

    def __init__(self, folder, port, herd, keep):
        super().__init__(folder, port)
        self.herd, self.name = herd, f"herd {keep}"

    def command(self):
        return [self.herd.program, "serve", "Hill", "--config", str(self.herd.folder / "herd.toml"),
                "--journal-dir", str(self.folder), "--log-level", "off",
                "--run-dir", str(self.herd.folder / "run")]

    def cwd(self):
        return self.herd.folder

    def hello(self):
        connection, lines = self.connect()
        with connection:
            connection.sendall(b"WHATSAT nobody 1 0\n")
            return lines.readline().startswith(b"?")

    def greet(self, connection, lines):
        pass

    def say(self, client, number):
        return f"IAMAT {client} +34.1-118.4 {number}\n".encode()

    def is_kept(self, lines):
        line = lines.readline()
        return line.startswith(b"AT ") if line.endswith(b"\n") else None

    def held(self, clients):
        return held_by_herd(self.port, clients)


class Caller(Talker):
    """Tells a server numbers, until it is over."""

    def __init__(self, server, first):
        self.server = server
        # When numbers were said, a few at a time.
        self.moments = [(0, time.monotonic())]
        super().__init__(server.port, 0, first)

    def run(self):
        with contextlib.suppress(OSError):
            connection, lines = self.server.connect()
            with connection:
                connection.settimeout(TIMEOUT_S)
                self.server.greet(connection, lines)
                while not self.is_over:
                    self.say_some(connection, lines)

    def say_some(self, connection, lines):
        said = [(f"c{random.randrange(CLIENTS)}", self.time + more) for more in range(16)]
        self.time += len(said)
        self.moments.append((said[0][1], time.monotonic()))
        connection.sendall(b"".join(self.server.say(*some) for some in said))
        for client, number in said:
            is_kept = self.server.is_kept(lines)
            if is_kept is None:
                raise ConnectionResetError
            self.heard += is_kept
            self.refused += not is_kept
            if is_kept:
                self.answered[client] = number


class Account:
    """What a fault has cost one of them."""

    def __init__(self):
        self.times = self.answers = self.lost = self.unstarted = 0
        self.oldest_s = 0.0

    def __str__(self):
        told = f"{self.times} times, {self.answers} answers, {self.lost} clients set back"
        if self.oldest_s:
            told += f" by up to {self.oldest_s:.2f} s"
        return told + (f", {self.unstarted} times it did not start" if self.unstarted else "")

    def compare(self, server, known, caller=None, end=None):
        """Starts it again, and counts what is not there of what it had answered. If the caller is
        given who was the last, and when that ended, it is said how old what is there is."""
        self.times += 1
        held = server.look(known) if server.start() else None
        if held is None:
            self.unstarted += 1
            return
        missing = [held.get(client, 0) for client, number in known.items()
                   if held.get(client, 0) < number]
        self.lost += len(missing)
        if missing and caller:
            at = bisect.bisect_right(caller.moments, (min(missing), 0)) - 1
            self.oldest_s = max(self.oldest_s, end - caller.moments[max(at, 0)][1])


def compare(program, rounds, seed):
    """One line for each of them and each fault."""
    told = []
    for name in NAMES:
        needed = {"Redis": "redis-server", "NATS": "nats-server"}.get(name.split()[0])
        if needed and not shutil.which(needed):
            told.append(f"\n==== SKIPPED: {name}, for {needed} is missing")
            continue
        for what, fault in FAULTS.items():
            # Each begins with nothing.
            with Herd(program) as herd, contextlib.ExitStack() as stack:
                server = make(name, herd)
                stack.callback(lambda: server.process and server.kill())
                try:
                    account = fault(server, rounds, random.Random(seed), stack)
                    told.append(f"\n    {name}, {what}: {account}")
                except Skipped as reason:
                    told.append(f"\n==== SKIPPED: {name}, {what}: {reason}")
    return "".join(told)


def make(name, herd):
    kind, policy, folder = *name.split(), herd.folder / "data"
    if kind == "herd":
        herd.configure(policy)
        return OfHerd(folder, herd.port("Hill"), herd, policy)
    port = herd.base + 1
    return Redis(folder, port, policy) if kind == "Redis" else Nats(folder, port)


def talk(server, life, seconds):
    caller = Caller(server, 1_000_000 * (life + 1))
    time.sleep(seconds)
    return caller


def hush(caller, known, account):
    caller.is_over = True
    caller.join(TIMEOUT_S)
    known.update(caller.answered)
    account.answers += caller.heard


def demand(server, account):
    assert not (server.is_ours and account.lost), f"{server.name}: {account}"
    return account


def killed(server, rounds, chance, stack):
    """kill -9 under load, and what is there then."""
    account, known = Account(), {}
    server.begin()
    for life in range(rounds):
        caller = talk(server, life, chance.uniform(0.05, 0.4))
        server.kill()
        hush(caller, known, account)
        account.compare(server, known)
    return demand(server, account)


def cut(server, rounds, chance, stack):
    """Power cuts, as `power` has them."""
    account, known = Account(), {}
    disk = Disk(server.folder.parent)
    stack.callback(disk.close)
    stack.callback(lambda: server.process and server.kill())
    server.folder = disk.place / "data"
    for life in range(rounds):
        if life == 0 or server.process.poll() is not None:
            shutil.rmtree(server.folder, ignore_errors=True)
            known.clear()
            server.begin()
        caller = talk(server, life, chance.uniform(0.1, 2.5))
        disk.cut()
        end = time.monotonic()
        server.kill()
        hush(caller, known, account)
        disk.unmount()
        disk.mount()
        account.compare(server, known, caller, end)
        known = {}
    return account


def filled(server, rounds, chance, stack):
    """A disk that is full under load; then it dies, and there is room again."""
    account, known = Account(), {}
    server.folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=96m", "tmpfs", server.folder)
    stack.callback(lambda: subprocess.run(["umount", "-l", server.folder], check=True))
    stack.callback(lambda: server.process and server.kill())
    server.begin()
    for life in range(rounds):
        caller = talk(server, life, 0.2)
        ballast = server.folder / "ballast"
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)) == 4096:
                pass
        time.sleep(chance.uniform(0.1, 1))
        server.kill()
        hush(caller, known, account)
        ballast.unlink()
        account.compare(server, known)
        if server.process.poll() is not None:
            break
    return demand(server, account)


def spoilt(server, rounds, chance, stack):
    """Files that are spoilt as those of `damage` are."""
    account, known = Account(), {}
    for life in range(4):
        server.begin()
        caller = talk(server, life, 0.1)
        # Callers end first, so that nothing is under way.
        hush(caller, known, account)
        server.kill()
    files = [path for path in server.folder.rglob("*") if path.is_file() and path.name != "lock"]
    good = {str(path.relative_to(server.folder)): path.read_bytes().rstrip(b"\0")
            for path in files}
    whole = server.folder.with_name("whole")
    server.folder.rename(whole)
    for _ in range(4 * rounds):
        shutil.copytree(whole, server.folder)
        found, faults = spoil(good, chance)
        for name, text in good.items():
            path = server.folder / name
            if name not in found:
                path.unlink()
            elif found[name] != text:
                path.write_bytes(found[name])
        account.compare(server, known)
        server.kill()
        shutil.rmtree(server.folder)
    return account


FAULTS = {"killed": killed, "power cut": cut, "disk full": filled, "spoilt": spoilt}
