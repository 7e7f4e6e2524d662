"""A server of five is killed under load: when its successor is ready."""

import contextlib
import time

from faults.herds import TIMEOUT_S

from .common import Measured, Scraper, counted, fill, first_in_line, percentile, until_equal, verdict

CLIENTS = 100_000
RATE = 10_000
ROUNDS = 10


def restart(program, seconds):
    """So many clients are known, and reports come all the time."""
    with Measured(program, 5, sections='[limits]\nready_alone_after = "off"\n') as herd:
        fill(herd, "Hill", CLIENTS)
        until_equal(herd)
        waits, early = [], 0
        load = ["-c", 10, "-r", RATE, "--clients", CLIENTS]
        with herd.load("Hill", *load, seconds=3600), first_in_line():
            time.sleep(2)
            for _ in range(ROUNDS):
                herd.kill("Singleton")
                time.sleep(0.5)
                began = time.monotonic()
                herd.start("Singleton")
                until_ready(herd.port("Singleton") + 300)
                waits.append(time.monotonic() - began)
                now = herd.metrics("Singleton")
                early += now['herd_caught_up{how="even"}'] != 1 or now["herd_clients"] < CLIENTS
                time.sleep(0.5)
        what = f"ready after a start, {CLIENTS:,} clients, {RATE:,} reports/s, {ROUNDS} restarts"
        yield f"{what}: median", f"{percentile(waits, 50):.2f} s", "2 s"
        yield f"{what}: longest", f"{max(waits):.2f} s{verdict(max(waits), 2)}", "2 s"
        yield "ready too early", f"{early}{counted(early, 0)}", "0"


def until_ready(port):
    end = time.monotonic() + TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), contextlib.closing(Scraper(port)) as caller:
            caller.get("/readyz")
            return
        assert time.monotonic() < end, "it is never ready"
        time.sleep(0.005)
