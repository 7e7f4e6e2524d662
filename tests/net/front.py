"""What stands before a herd on several machines: a machine of its own with HAProxy, a Prometheus that
scrapes all servers, and clients that come through the one and remember what they were answered."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.parse

from faults.herds import NAMES, TIMEOUT_S, until

from .machines import PORT, inside

PROMETHEUS_PORT = 9090
# A minute of the printed rules is a second here: `for: 2m`, `[1h]`. A day is as long as an hour.
QUICKER, LONGEST_S = 60, 3600
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
REPORT_EVERY_S = 0.5
# Long enough for a server that a busy machine lets wait, and shorter than what a person bears.
ANSWER_MAX_S = 15


def have(*programs):
    """Whether they are there; as root, apt may bring them."""
    def missing():
        return [program for program in programs if not shutil.which(program)]

    if missing() and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL)
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing()]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(install, stdout=subprocess.DEVNULL, env=environment)
    return not missing()


def quicker(rules):
    """The rules, with times that are so much shorter."""
    def shorten(found):
        ms = min(int(found[2]) * SECONDS[found[3]], LONGEST_S) * 1000 // QUICKER
        return f"{found[1]}{ms}ms"
    return re.sub(r"(for: |\[)(\d+)([smhd])\b", shorten, rules)


class Front:
    """The machine behind those of `herd`, whose number is `machine`."""

    def __init__(self, herd, machine, clients):
        self.herd, self.machine = herd, machine
        self.namespace = herd.namespaces[machine]
        self.running = []
        self.crowd = Crowd(self.namespace, clients)

    def start(self):
        self.write_settings()
        folder = self.herd.folder
        self.run("haproxy", "-db", "-q", "-f", folder / "haproxy.cfg")
        self.run("prometheus", f"--config.file={folder}/prometheus.json", "--log.level=error",
                 f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address=127.0.0.1:"
                 f"{PROMETHEUS_PORT}")
        until("all servers are scraped", lambda: len(self.query('up{job="herd"} == 1')) == len(NAMES))
        self.crowd.start()
        until("all clients are answered", self.crowd.has_all)

    def run(self, *command):
        inside = ["ip", "netns", "exec", self.namespace]
        self.running.append(subprocess.Popen([*inside, *command], cwd=self.herd.folder))

    def close(self):
        self.crowd.stop()
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(TIMEOUT_S)

    def write_settings(self):
        addresses = self.herd.addresses[:len(NAMES)]
        servers = "".join(
            f"    server {name} {address}:{PORT} send-proxy{'-v2' if at % 2 else ''} "
            f"check port {PORT + 300} inter 300ms fall 2 rise 1\n"
            for at, (name, address) in enumerate(zip(NAMES, addresses)))
        (self.herd.folder / "haproxy.cfg").write_text(
            "global\n    nbthread 1\ndefaults\n    mode tcp\n    timeout connect 1s\n"
            "    timeout client 6m\n    timeout server 6m\n    retries 3\n    option redispatch\n"
            f"frontend clients\n    bind 127.0.0.1:{PORT}\n    default_backend herd\n"
            f"backend herd\n    balance leastconn\n    option httpchk GET /readyz\n{servers}")
        rules = subprocess.run([self.herd.program, "print", "alerts"], check=True,
                               capture_output=True, text=True).stdout
        (self.herd.folder / "alerts.yaml").write_text(quicker(rules))
        targets = [f"{address}:{PORT + 300}" for address in addresses]
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{
                "job_name": "herd",
                "static_configs": [{"targets": targets}],
                "file_sd_configs": [{"files": ["others.json"], "refresh_interval": "1s"}],
            }],
        }
        self.write_others([])
        (self.herd.folder / "prometheus.json").write_text(json.dumps(settings))

    def write_others(self, targets):
        """Which servers of another herd Prometheus watches: it reads this file again and again."""
        new = self.herd.folder / "others.new"
        new.write_text(json.dumps([{"targets": targets, "labels": {"job": "herd-bus"}}]))
        new.rename(self.herd.folder / "others.json")

    @contextlib.contextmanager
    def watching(self, targets):
        """Prometheus watches servers of another herd for a while."""
        self.write_others(targets)
        until("they are scraped",
              lambda: len(self.query('up{job="herd-bus"} == 1')) == len(targets))
        yield
        self.write_others([])
        until("they are not scraped", lambda: not self.query('up{job="herd-bus"}'))

    def ask(self, path, **words):
        """What Prometheus answers; nothing if it is not there yet."""
        caller = http.client.HTTPConnection("127.0.0.1", PROMETHEUS_PORT, timeout=TIMEOUT_S)
        try:
            with inside(self.namespace):
                caller.connect()
            caller.request("GET", f"/api/v1/{path}?" + urllib.parse.urlencode(words))
            return json.loads(caller.getresponse().read())["data"]["result"]
        except (OSError, ValueError):
            return []
        finally:
            caller.close()

    def query(self, text):
        return self.ask("query", query=text)

    def firing(self):
        return {found["metric"]["alertname"] for found in self.query('ALERTS{alertstate="firing"}')}

    def fired(self, since):
        """The alerts that have fired since a moment, in POSIX time."""
        rows = self.ask("query_range", query='ALERTS{alertstate="firing"}', start=since,
                        end=time.time(), step="1s")
        return {row["metric"]["alertname"] for row in rows}


class Crowd(threading.Thread):
    """Clients that report twice a second, each over one connection after the other."""

    def __init__(self, namespace, count):
        super().__init__(daemon=True)
        self.namespace = namespace
        self.clients = [Client(number) for number in range(count)]
        self.is_over, self.is_paused = False, False
        self.failed = None

    def run(self):
        try:
            with inside(self.namespace):
                asyncio.run(self.talk())
        except BaseException as error:
            self.failed = error

    async def talk(self):
        await asyncio.gather(*(client.talk(self) for client in self.clients))

    def has_all(self):
        return all(client.answered for client in self.clients) or self.failed

    def answered(self):
        """The time of each client's last report that was answered."""
        return {client.name: client.answered for client in self.clients}

    def sum(self, what):
        return sum(getattr(client, what) for client in self.clients)

    def pause(self):
        """Nobody says more, and nobody waits for an answer."""
        self.is_paused = True
        until("nobody waits", lambda: all(client.is_silent for client in self.clients))

    def resume(self):
        self.is_paused = False

    def stop(self):
        self.is_over = True
        if self.ident:
            self.join(TIMEOUT_S)


class Client:
    def __init__(self, number):
        self.number, self.name = number, f"client-{number}"
        self.address = f"127.7.{number // 250}.{1 + number % 250}"
        self.is_silent = True
        self.time = self.answered = 0
        self.answers = self.refusals = self.ends = 0
        # Answers that have not come, or not whole, before an end that was none between two answers.
        self.unanswered = 0

    async def talk(self, crowd):
        await asyncio.sleep(self.number / 100 % REPORT_EVERY_S)
        while not crowd.is_over:
            if crowd.is_paused:
                self.is_silent = True
                await asyncio.sleep(0.05)
                continue
            try:
                opening = asyncio.open_connection("127.0.0.1", PORT, local_addr=(self.address, 0))
                reader, writer = await asyncio.wait_for(opening, ANSWER_MAX_S)
            except OSError:
                await asyncio.sleep(0.2)
                continue
            try:
                await self.report(crowd, reader, writer)
            except (OSError, asyncio.TimeoutError):
                self.unanswered += 1
            self.ends += 1
            self.is_silent = True
            writer.close()

    async def report(self, crowd, reader, writer):
        while not crowd.is_over:
            self.is_silent = crowd.is_paused
            if not crowd.is_paused:
                if not await self.say(reader, writer):
                    return
                self.is_silent = True
            try:
                # Nobody says anything unasked, so what comes is the end.
                assert not await asyncio.wait_for(reader.read(1), REPORT_EVERY_S)
                return
            except asyncio.TimeoutError:
                pass

    async def say(self, reader, writer):
        """Reports, and says whether it was answered."""
        self.time += 1
        line = f" {self.name} +1-1 {self.time}\n"
        writer.write(f"IAMAT{line}".encode())
        answer = (await asyncio.wait_for(reader.readline(), ANSWER_MAX_S)).decode()
        if answer.startswith("AT ") and answer.endswith(line):
            self.answered = self.time
            self.answers += 1
        elif answer.startswith("? ") and answer.endswith(line):
            self.refusals += 1
        else:
            # An end on the moment of a line is none inside an answer.
            assert not answer.endswith("\n"), f"{self.name} was told {answer!r}"
            self.unanswered += bool(answer)
            return False
        return True
