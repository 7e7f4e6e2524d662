"""Three nodes of NATS on loopback, and what its keys are written as."""

import base64
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from net.ports import free_ports


class Route:
    """Carries what one node tells another, until it is cut: then it takes all and passes on
    none."""

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
        raise RuntimeError((self.dir / f"n{node}.log").read_text()[-2000:])

    def kill(self, node: int):
        self.processes[node].kill()
        self.processes[node].wait()

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def crc16(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte << 8
        for _ in range(8):
            total = (total << 1 ^ (0x1021 if total & 0x8000 else 0)) & 0xFFFF
    return total


def seed(key: bytes) -> str:
    """A user's seed, as `nk -gen user` writes it."""
    data = bytes([18 << 3 | 20 << 3 >> 5, (20 << 3 & 31) << 3]) + key
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).decode().rstrip("=")
