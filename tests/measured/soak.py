"""What grows while a server is up for long: each kind of work by itself, for a fixed set of clients."""

import contextlib
import os
import socket
import time

from .common import Measured, Scraper, thread
from .tls import context, hello, served

SAMPLE_S = 0.5


def soak(program, seconds):
    """Memory after a warm-up of half the time, and at the end: bytes that stay, and how many things
    were done meanwhile."""
    for name, kind in KINDS.items():
        with kind_of_server(program, name) as herd:
            begun, samples, done = time.monotonic(), [], [0]
            with contextlib.ExitStack() as stack:
                kind(herd, stack, seconds, done)
                while (now := time.monotonic() - begun) < seconds:
                    samples.append((now, herd.resident(), done[0]))
                    time.sleep(SAMPLE_S)
            half = [sample for sample in samples if sample[0] > seconds / 2]
            grown, things = half[-1][1] - half[0][1], half[-1][2] - half[0][2]
            per = f", {grown / things:.2f} bytes each of {things:,}" if things else ""
            yield (f"resident memory in the second half of {seconds:.0f} s: {name}",
                   f"{half[0][1] / 1e6:.2f} MB, {grown / 1024:+.0f} KiB, "
                   f"{slope(half):+.2f} %/h{per}", "0.1 %/h")


def kind_of_server(program, name):
    herd = served(program) if name == "tls" else Measured(program)
    return herd


def slope(samples):
    """Percent of growth in an hour, by least squares."""
    count = len(samples)
    mid = sum(it[0] for it in samples) / count
    level = sum(it[1] for it in samples) / count
    over = sum((it[0] - mid) ** 2 for it in samples)
    rise = sum((it[0] - mid) * (it[1] - level) for it in samples) / over if over else 0
    return 100 * rise * 3600 / level


def calm(herd, stack, seconds, done):
    """Nothing."""


def steady(herd, stack, seconds, done):
    load = ["-c", 50, "-r", 5_000, "--clients", 10_000]
    stack.enter_context(herd.load("Hill", *load, seconds=seconds + 60))


def whatsat(herd, stack, seconds, done):
    load = ["-c", 50, "-r", 5_000, "--clients", 10_000, "--whatsat", 50]
    stack.enter_context(herd.load("Hill", *load, seconds=seconds + 60))


def connects(herd, stack, seconds, done):
    load = ["-c", 50, "--reconnect", "--clients", 1_000]
    stack.enter_context(herd.load("Hill", *load, seconds=seconds + 60))


def repeated(work):
    """A kind of load that does one thing again and again."""
    def kind(herd, stack, seconds, done):
        def again(is_over):
            with contextlib.closing(Scraper(herd.port("Hill") + 300)) as caller:
                while not is_over.is_set():
                    work(herd, caller)
                    done[0] += 1
        stack.enter_context(thread(again))
    return kind


def scraped(herd, caller):
    caller.get("/metrics")


def listed(herd, caller):
    caller.get("/status")
    caller.get("/connections")


def reloaded(herd, caller):
    told = herd.ask("reload", "--wait", "Hill", "--config", "herd.toml")
    assert told.returncode == 0, told.stderr


def rotated(herd, caller):
    log = herd.folder / "log/Hill.log"
    # The new file is there when something is to be written to it.
    with contextlib.suppress(FileNotFoundError):
        os.replace(log, log.with_suffix(".old"))
    reloaded(herd, caller)


def greeted(herd, caller):
    hello(herd.tls, context())


def many_at_once(herd, caller):
    """Clients come in a crowd and go."""
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", herd.port("Hill"))))
                 for _ in range(200)]
        for number, client in enumerate(crowd):
            client.sendall(b"IAMAT crowd-%d +1-1 1\nWHATSAT crowd-%d 10 5\n" % (number, number))
        for client in crowd:
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass


KINDS = {
    "nothing": calm,
    "reports": steady,
    "questions": whatsat,
    "connects": connects,
    "crowds": repeated(many_at_once),
    "scrapes": repeated(scraped),
    "lists": repeated(listed),
    "tls": repeated(greeted),
    "reloads": repeated(reloaded),
    "rotations": repeated(rotated),
}
