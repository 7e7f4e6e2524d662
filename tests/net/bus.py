"""Two servers of another herd, which tell each other news by a node of NATS, all of them on the
machine in front: what happens to an engine, the same Prometheus sees as well."""

import json
import socket
import subprocess
import time

from faults.herds import TIMEOUT_S, until

from .machines import inside

BASE, NODE = 13000, 14222
SERVERS = "Anna", "Bert"


class Bus:
    """Both servers and the node, in a folder of their own, until the block has ended."""

    def __init__(self, program, namespace, folder):
        self.program, self.namespace, self.folder = program, namespace, folder / "bus"
        self.targets = [f"127.0.0.1:{BASE + at + 300}" for at in range(len(SERVERS))]
        self.running = {}

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        self.run(None, self.program, "keygen", "herd.key").wait(TIMEOUT_S)
        servers = "".join(
            f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{BASE + at}"\nweb = "off"\n'
            for at, name in enumerate(SERVERS))
        (self.folder / "herd.toml").write_text(
            f'herd = "bus"\nkey_file = "herd.key"\n{servers}[engine]\n'
            f'urls = {json.dumps([f"127.0.0.1:{NODE}"])}\n[journal]\nkeep = "off"\n'
            '[limits]\nbackoff_max = "500 ms"\n')
        self.start_node()
        for name in SERVERS:
            self.run(name, self.program, "serve", name, "--config", "herd.toml")
        self.until_up()
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait(TIMEOUT_S)

    def run(self, name, *command):
        inside = ["ip", "netns", "exec", self.namespace]
        process = subprocess.Popen([*inside, *command], cwd=self.folder, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        if name:
            self.running[name] = process
        return process

    def start_node(self):
        self.run("node", "nats-server", "-a", "127.0.0.1", "-p", str(NODE))
        until("the node listens", lambda: self.reach_node(lambda _: True))

    def kill_node(self):
        self.running["node"].kill()
        self.running["node"].wait(TIMEOUT_S)

    def until_up(self):
        until("both are on the engine", lambda: self.states() == ["up"] * len(SERVERS))

    def states(self):
        told = subprocess.run(
            ["ip", "netns", "exec", self.namespace, self.program, "status", "--json", "--config",
             "herd.toml"], cwd=self.folder, capture_output=True, text=True)
        servers = json.loads(told.stdout or "[]")
        return [(server.get("engine") or {}).get("state") for server in servers]

    def reach_node(self, talk):
        """What comes of talking to the node; nothing if it is not there."""
        try:
            with inside(self.namespace):
                connection = socket.create_connection(("127.0.0.1", NODE), timeout=TIMEOUT_S)
            with connection:
                connection.recv(4096)
                return talk(connection)
        except OSError:
            return None

    def lie(self, seconds):
        """Another client of the node says what no server of the herd has said."""
        def talk(connection):
            connection.sendall(b'CONNECT {"verbose":false}\r\n')
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                connection.sendall(b"PUB herd.bus.r.0 5\r\nhello\r\n")
                time.sleep(0.5)
            return True
        assert self.reach_node(talk), "the node is away"
