"""Five machines, each a network namespace, joined by `switch.py`; a server of one herd on each."""

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from faults.herds import LINKS, NAMES, PLACES, TIMEOUT_S, Herd, Skipped, until

from .switch import hardware_address, ip

PORT = 12000
CLONE_NEWNET = 0x40000000


class Machines(Herd):
    """All five, which are gone when the block has ended. `seed` chooses what the switch loses. They
    find each other by addresses of `net`, or by names (`hosts`) that stand for such. If `operators`
    is set, they can be asked from other machines. So many `others` have no server."""

    def __init__(self, program, seed, sections="", net="10.99.0.", by_name=False, operators=False,
                 others=0):
        if os.geteuid() != 0 or not shutil.which("ip") or not os.path.exists("/dev/net/tun"):
            raise Skipped("no machines were joined: that needs root, ip (iproute2) and /dev/net/tun")
        self.count = len(NAMES) + others
        self.namespaces = [f"herd{os.getpid()}m{machine}" for machine in range(self.count)]
        self.switch = None
        self.seed, self.net, self.by_name, self.operators = seed, net, by_name, operators
        self.addresses = [f"{net}{machine + 1}" for machine in range(self.count)]
        super().__init__(program, len(NAMES), sections=sections)

    def configure(self, keep, sections=""):
        subprocess.run([self.program, "keygen", "herd.key"], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL)
        text = f'herd = "machines"\nlinks = {json.dumps(LINKS)}\nkey_file = "herd.key"\n'
        for machine, name in enumerate(self.names):
            host = f"{name}.test".lower() if self.by_name else self.addresses[machine]
            host = f"[{host}]" if ":" in host else host
            text += f'[[server]]\nname = "{name}"\nclients = "{host}:{PORT}"\n'
            if self.operators:
                text += f'operators = "{host}:{PORT + 300}"\npeers = "{host}:{PORT + 100}"\n'
        if self.operators:
            text = "operators_open = true\n" + text
        text += '[log]\nlevel = "events"\n[places]\nsource = "file"\nfile = "places.csv"\n'
        if "[journal]" not in sections:
            # What a server knows after a start, the others have told it.
            text += '[journal]\nkeep = "off"\n'
        (self.folder / "herd.toml").write_text(text + sections)
        (self.folder / "places.csv").write_text(PLACES)

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def build(self):
        for namespace in self.namespaces:
            ip("netns", "add", namespace)
        program = [sys.executable, str(Path(__file__).with_name("switch.py")), str(self.seed)]
        self.switch = subprocess.Popen([*program, *self.namespaces], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, bufsize=1)
        assert self.switch.stdout.readline() == "ok\n", "the switch has not come up"
        for machine, namespace in enumerate(self.namespaces):
            inside = ["-n", namespace]
            ip(*inside, "link", "set", "lo", "up")
            ip(*inside, "link", "set", "card", "up")
            self.settle(machine)
        self.tell_names()
        for name in self.names:
            self.start(name)
        for name in self.names:
            assert self.ready(name), f"{name} has ended"
        self.until_equal()

    def __exit__(self, error, *rest):
        super().__exit__(error, *rest)
        if self.switch is not None:
            self.switch.stdin.close()
            self.switch.wait(TIMEOUT_S)
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], check=False,
                           stderr=subprocess.DEVNULL)
            shutil.rmtree(f"/etc/netns/{namespace}", ignore_errors=True)

    def settle(self, machine, address=None):
        """Gives a machine its address, or another one."""
        inside = ["-n", self.namespaces[machine]]
        if address is not None:
            ip(*inside, "addr", "flush", "dev", "card")
            self.addresses[machine] = address
        address = self.addresses[machine]
        six = ":" in address
        ip(*inside, "addr", "add", f"{address}/{64 if six else 24}", "dev", "card",
           *(["nodad"] if six else []))
        # Nobody asks who has an address: what is lost is TCP's.
        for other in set(range(self.count)) - {machine}:
            for one, another in (machine, other), (other, machine):
                ip("-n", self.namespaces[one], "neigh", "replace", self.addresses[another],
                   "lladdr", hardware_address(another), "dev", "card", "nud", "permanent")

    def tell_names(self):
        """Tells all machines which names stand for which addresses (see ip-netns(8))."""
        if self.by_name:
            hosts = "".join(f"{address} {name}.test\n".lower()
                            for address, name in zip(self.addresses, self.names))
            for namespace in self.namespaces:
                folder = Path("/etc/netns") / namespace
                folder.mkdir(parents=True, exist_ok=True)
                # The file itself stays: it is mounted in the namespaces.
                with open(folder / "hosts", "w") as file:
                    file.write("127.0.0.1 localhost\n" + hosts)

    def start(self, name, before=(), flags=()):
        inside = ["ip", "netns", "exec", self.namespaces[NAMES.index(name)]]
        super().start(name, (*inside, *before), flags=flags)

    def ask_from(self, name, *words):
        """What a command on a machine, which knows only the server of its own, says and ends with."""
        own = self.folder / f"run-of-{name}"
        if not own.exists():
            own.mkdir()
            for kind in "pid", "sock":
                (own / f"{name}.{kind}").symlink_to(self.folder / f"run/{name}.{kind}")
        inside = ["ip", "netns", "exec", self.namespaces[NAMES.index(name)]]
        told = subprocess.run([*inside, self.program, *words, "--config", "herd.toml"],
                              cwd=self.folder, env=os.environ | {"HERD_RUN_DIR": str(own)},
                              capture_output=True, text=True, timeout=TIMEOUT_S)
        return told.stdout, told.returncode

    def seen_from(self, name):
        """The state of each server, as `herd status` on a machine sees it, and what it ends with."""
        told, code = self.ask_from(name, "status", "--all", "--json")
        # What is written of a server that answers, it has written itself.
        return {server["name"]: server["state"] for server in json.loads(told)}, code

    def pid(self, name):
        return self.running[name].pid

    def order(self, *words):
        """Has the switch do something."""
        self.switch.stdin.write(" ".join(map(str, words)) + "\n")
        told = self.switch.stdout.readline()
        assert told == "ok\n", told

    def everywhere(self, name, *numbers):
        """Has the switch do something between all machines."""
        for one in range(len(NAMES)):
            for other in range(one):
                self.order(name, one, other, *numbers)

    def cut_off(self, name, others=NAMES, order="cut"):
        """From now on nothing comes or goes between one machine and others; or does again."""
        machine = NAMES.index(name)
        for other in (NAMES.index(other) for other in others if other != name):
            self.order(order, machine, other)
            self.order(order, other, machine)

    def peers(self, name):
        """The state of each peer, as a server sees it."""
        return {peer["name"]: peer["state"] for peer in self.status(name)["peers"]}

    def digests(self):
        return {name: self.status(name)["digest"] for name in self.running}

    def until_equal(self):
        """Waits until all are joined and hold the same. Gives the seconds that it took."""
        began = time.monotonic()

        def look():
            states = [self.status(name) for name in self.running]
            joined = all(peer["state"] == "up" for state in states for peer in state["peers"])
            return joined and len({state["digest"] for state in states}) == 1
        until("all hold the same", look)
        return time.monotonic() - began

    def look_at(self, name, path):
        """What a server's port for operators answers on its own machine: the status and the text;
        nothing if nobody answers."""
        host = self.addresses[NAMES.index(name)] if self.operators else "127.0.0.1"
        caller = http.client.HTTPConnection(host, PORT + 300, timeout=TIMEOUT_S)
        try:
            with inside(self.namespaces[NAMES.index(name)]):
                caller.connect()
            caller.request("GET", path)
            answer = caller.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return None
        finally:
            caller.close()

    def measured(self, name):
        """Some metrics of a server, of one moment; nothing if nobody answers."""
        answer = self.look_at(name, "/metrics")
        if answer is None:
            return None
        rows = [row.rsplit(" ", 1) for row in answer[1].splitlines() if not row.startswith("#")]
        return {series: float(value) for series, value in rows}

    def connect(self, name):
        """A connection of a client that is on the same machine as a server."""
        address = self.addresses[NAMES.index(name)]
        with inside(self.namespaces[NAMES.index(name)]):
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        connection.settimeout(TIMEOUT_S)
        connection.connect((address, PORT))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(connection)


class Forwarder:
    """A router before a machine, as those at home: who connects to it is passed on to an address
    behind it, which sees none but the router."""

    def __init__(self, machines, name, ports):
        self.namespace = machines.namespaces[NAMES.index(name)]
        self.doors = []
        for port in ports:
            with inside(self.namespace):
                door = socket.create_server((machines.addresses[NAMES.index(name)], port))
            self.doors.append(door)
            threading.Thread(target=self.accept, args=(door, port), daemon=True).start()

    def accept(self, door, port):
        with contextlib.suppress(OSError):
            while True:
                caller, _ = door.accept()
                with inside(self.namespace):
                    behind = socket.socket()
                try:
                    behind.connect(("127.0.0.1", port))
                except OSError:
                    caller.close()
                    continue
                for one, other in (caller, behind), (behind, caller):
                    threading.Thread(target=pass_on, args=(one, other), daemon=True).start()

    def close(self):
        for door in self.doors:
            # Else the thread that waits at it would keep it open.
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()


def pass_on(one, other):
    """What one says is told to the other, until it has ended."""
    with contextlib.suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)
    for end in one, other:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def inside(namespace):
    """What is opened here belongs to a namespace for its whole life. Of this thread only."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


class Client:
    """One connection; what it was answered, it remembers."""

    def __init__(self, connection):
        self.connection = connection
        self.lines = connection.makefile("rb")
        # The latest time of each client that was answered.
        self.answered = {}

    def report(self, client, when):
        self.connection.sendall(f"IAMAT {client} +34.1-118.4 {when}\n".encode())
        fields = self.lines.readline().decode().split()
        assert fields and fields[0] == "AT", f"{client} was answered {fields}"
        self.answered[client] = when

    def fill(self, clients):
        """Reports so many clients, many at a time."""
        for first in range(0, clients, 500):
            some = range(first, min(first + 500, clients))
            self.connection.sendall(
                b"".join(b"IAMAT many-%d +34.1-118.4 1\n" % number for number in some))
            for _ in some:
                assert self.lines.readline().startswith(b"AT ")

    def insist(self):
        """Reports, and is refused."""
        self.connection.sendall(b"IAMAT stubborn +34.1-118.4 1\n")
        assert self.lines.readline().startswith(b"? "), "it was not refused"

    def knows(self, client):
        """The time of a client's newest report, as the server knows it; nothing if it knows none."""
        self.connection.sendall(f"WHATSAT {client} 1 0\n".encode())
        fields = self.lines.readline().decode().split()
        if fields[0] == "?":
            return None
        while self.lines.readline() != b"\n":
            pass
        return int(fields[5])

    def close(self):
        self.lines.close()
        self.connection.close()


class Reporter(threading.Thread):
    """Reports clients of its own at one server until it is stopped."""

    def __init__(self, machines, name):
        super().__init__(daemon=True)
        self.client = machines.connect(name)
        self.name, self.is_over, self.failed = name, False, None
        self.start()

    def run(self):
        try:
            when = 0
            while not self.is_over:
                when += 1
                self.client.report(f"{self.name}-{when % 50}", when)
                time.sleep(0.002)
        except (OSError, AssertionError) as error:
            self.failed = error

    def stop(self):
        """What was answered."""
        self.is_over = True
        self.join(TIMEOUT_S)
        assert not self.is_alive(), "an answer never came"
        assert self.failed is None, f"a client of {self.name} was hung up on: {self.failed}"
        self.client.close()
        return self.client.answered
