"""Operators while clients want everything: answers in time, and what a scrape costs the loop."""

import contextlib
import time

from .common import Measured, Scraper, counted, fill, first_in_line, percentile, star, thread, verdict

EVERY_S = 0.1
SCRAPES = 2_000
OPEN = 10_000


def saturated(program, seconds):
    """/metrics and /livez beside 50 connections that pipeline 128, and beside 10,000 open ones."""
    with Measured(program) as herd:
        yield from asked(herd, "50 connections pipeline 128", ["-c", 50, "-p", 128], seconds)
        idle = ["-c", 50, "-p", 128, "--idle", OPEN]
        yield from asked(herd, f"the same, {OPEN:,} more are open", idle, seconds)


def asked(herd, beside, flags, seconds):
    waits = {"/metrics": [], "/livez": []}
    failures = []

    def ask(is_over):
        with first_in_line(), contextlib.closing(Scraper(herd.port("Hill") + 300)) as caller:
            while not is_over.wait(EVERY_S):
                for path, of_path in waits.items():
                    began = time.monotonic()
                    try:
                        caller.get(path)
                    except OSError as error:
                        failures.append(error)
                    of_path.append(time.monotonic() - began)

    with herd.load("Hill", *flags, seconds=seconds) as load:
        time.sleep(2)
        with thread(ask):
            found = load.findings()
    rate = found["answers_per_second"]
    for path, of_path in waits.items():
        p99 = 1000 * percentile(of_path, 99)
        yield (f"{path} beside {beside}: p99 of {len(of_path)}", f"{p99:.1f} ms{verdict(p99, 20)}",
               "20 ms")
    yield f"failures beside {rate:,.0f} answers a second", f"{len(failures)}", "0"


def scrape(program, seconds):
    """What one scrape costs the loop of a server with four peers, and how many series there are."""
    with Measured(program, 5, links=star()) as herd:
        fill(herd, "Hill", 10_000)
        before = herd.metrics()
        with contextlib.closing(Scraper(herd.port("Hill") + 300)) as caller:
            for _ in range(SCRAPES):
                text = caller.get("/metrics")
        after = herd.metrics()
        for what, series in (("time in turns", "herd_loop_busy_seconds_total"),
                             ("processor time", "herd_loop_cpu_seconds_total")):
            each = 1e6 * (after[series] - before[series]) / SCRAPES
            yield (f"a scrape with 4 peers, {what} of the loop", f"{each:.0f} µs{verdict(each, 300)}",
                   "300 µs")
        yield "its text", f"{len(text) / 1024:.1f} KiB", ""
        yield "series", f"{len(after)}{counted(len(after), 250)}", "250"
        new = set(after) ^ set(before)
        yield "series that have come or gone", f"{len(new)}{counted(len(new), 0)}", "0"
