"""What all measurements need: servers with little in their configuration, loads, and looks at both."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time

from faults.herds import NAMES, TIMEOUT_S, Herd, until

TICKS = os.sysconf("SC_CLK_TCK")
# Before a command whose times are measured: others do not have the processors then.
FIRST = ["nice", "-n", "-19"] if os.geteuid() == 0 else []


def take_the_processors():
    """From here on by a real-time policy. To be nice is not enough, for what other sessions do has a
    share of its own (sched(7), autogroup); but whatever runs beside it stands still meanwhile."""
    if os.geteuid() == 0 and shutil.which("chrt"):
        FIRST[:] = ["chrt", "--fifo", "1"]


class Measured(Herd):
    """The first servers of a herd without journals, which log only what happens. All have come up."""

    def __init__(self, program, count=1, sections="", links=None):
        self.links = links
        super().__init__(program, count, keep="off", sections=sections)

    def configure(self, keep, sections=""):
        super().configure(keep, sections)
        if self.links is not None:
            path = self.folder / "herd.toml"
            _, rest = path.read_text().split("links = ", 1)
            path.write_text(f'herd = "goals"\nlinks = {json.dumps(self.links)}\n'
                            + rest.split("\n", 1)[1])

    def __enter__(self):
        for name in self.names:
            self.start(name)
        for name in self.names:
            assert self.ready(name), f"{name} has not come up"
        return self

    def start(self, name="Hill", before=(), file_bytes=None, flags=()):
        """Servers are before all others that want a processor, where that can be had."""
        super().start(name, [*FIRST, *before], file_bytes, flags)

    def bench(self, name, *flags, seconds=5):
        """Loads a server from before all others, and gives the findings. It sleeps between two
        requests: what is before all others must not keep them away for nothing."""
        with self.load(name, "--asleep", *flags, seconds=seconds, before=FIRST) as load:
            return load.findings()

    @contextlib.contextmanager
    def load(self, name, *flags, seconds, port=None, before=()):
        """Loads a server while the block goes on."""
        command = [*before, self.program, "bench", "--connect", f"127.0.0.1:{port or self.port(name)}",
                   "--pid", str(self.pid(name)), "--json", "-s", str(seconds), *map(str, flags)]
        load = Load(command)
        try:
            yield load
        finally:
            load.process.kill()
            load.process.wait()

    def metrics(self, name="Hill"):
        caller = Scraper(self.port(name) + 300)
        try:
            text = caller.get("/metrics")
        finally:
            caller.close()
        return parsed(text)

    def cpu_s(self, name="Hill"):
        """Processor time of a server so far."""
        with open(f"/proc/{self.pid(name)}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self, name="Hill"):
        """Bytes that a server has in memory."""
        with open(f"/proc/{self.pid(name)}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Load:
    """`herd bench` in a process of its own."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)

    def findings(self):
        told, complaint = self.process.communicate()
        assert self.process.returncode == 0, complaint
        return json.loads(told)


class Scraper:
    """One connection to a port for operators, by which one request follows the other."""

    def __init__(self, port):
        self.port, self.caller = port, None

    def get(self, path):
        if self.caller is None:
            self.caller = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
            self.caller.connect()
            self.caller.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.caller.request("GET", path)
            answer = self.caller.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status}")
        if answer.will_close:
            self.close()
        return text

    def close(self):
        if self.caller is not None:
            self.caller.close()
        self.caller = None


def parsed(text):
    rows = [row.rsplit(" ", 1) for row in text.splitlines() if not row.startswith("#")]
    return {series: float(value) for series, value in rows}


@contextlib.contextmanager
def thread(work):
    """Runs `work` beside the block, which it is given the end of."""
    is_over, failed = threading.Event(), []

    def run():
        try:
            work(is_over)
        except Exception as error:
            failed.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        yield
    finally:
        is_over.set()
        worker.join(TIMEOUT_S)
    if failed:
        raise failed[0]


@contextlib.contextmanager
def first_in_line():
    """This thread has a processor whenever it wants one, where that can be had: what it measures is
    how long others take."""
    this = os.PRIO_PROCESS, threading.get_native_id()
    before = os.getpriority(*this)
    with contextlib.suppress(OSError):
        os.setpriority(*this, -20)
        if "chrt" in FIRST:
            # Not what it starts: that says for itself what it is.
            policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(2))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(*this, before)


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def verdict(figure, most):
    return "" if figure <= most else " **missed**"


# Counts that are above their bounds: they are the same on a busy machine, so they are faults.
WRONG = []


def counted(figure, most):
    """The verdict on a count."""
    if figure > most:
        WRONG.append(figure)
    return verdict(figure, most)


def fill(herd, name, clients, first=0):
    """Has a server know so many clients."""
    with socket.create_connection(("127.0.0.1", herd.port(name)), TIMEOUT_S) as connection:
        lines = connection.makefile("rb")
        for start in range(first, first + clients, 500):
            some = range(start, min(start + 500, first + clients))
            connection.sendall(b"".join(b"IAMAT many-%d +34.1-118.4 1\n" % it for it in some))
            for _ in some:
                assert lines.readline().startswith(b"AT ")


def until_equal(herd):
    until("all hold the same",
          lambda: len({herd.status(name)["digest"] for name in herd.names}) == 1)


def star():
    """Links by which the first server has four peers."""
    return [[NAMES[0], other] for other in NAMES[1:]]


def seconds_since(began):
    return time.monotonic() - began
