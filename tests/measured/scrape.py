"""Operators while clients want everything: answers in time, and what a scrape costs the loop."""

import contextlib
import os
import time

from .common import (Measured, Scraper, counted, fill, first_in_line, parsed, percentile, star,
                     thread, verdict)

EVERY_S = 0.1
SCRAPES = 2_000
OPEN = 10_000
BUSY = 2_000
SLEEP_S = 0.001


def saturated(program, seconds):
    """/metrics and /livez beside 50 connections that pipeline 128, beside 10,000 open ones, and
    beside more that are busy than one turn serves."""
    with Measured(program) as herd:
        yield from asked(herd, "50 connections pipeline 128", ["-c", 50, "-p", 128], seconds)
        idle = ["-c", 50, "-p", 128, "--idle", OPEN]
        yield from asked(herd, f"the same, {OPEN:,} more are open", idle, seconds)
        yield from asked(herd, f"{BUSY:,} connections pipeline 16", ["-c", BUSY, "-p", 16], seconds)


def asked(herd, beside, flags, seconds):
    """How long operators wait, each by a connection that is kept and by one of its own, beside what
    they can wait for: the turns of the loop, and a processor, which this thread waits for as well
    when it sleeps."""
    waits = {f"{path}{how}": [] for path in ("/metrics", "/livez") for how in ("", " anew")}
    failures, turns, sleeps = [], [], []

    def ask(is_over):
        with first_in_line(), contextlib.closing(Scraper(herd.port("Hill") + 300)) as caller:
            before = parsed(caller.get("/metrics"))
            while not is_over.wait(EVERY_S):
                began = time.monotonic()
                time.sleep(SLEEP_S)
                sleeps.append(time.monotonic() - began - SLEEP_S)
                for what, of_path in waits.items():
                    path, *is_anew = what.split(" ")
                    if is_anew:
                        caller.close()
                    began = time.monotonic()
                    try:
                        caller.get(path)
                    except OSError as error:
                        failures.append(error)
                    of_path.append(time.monotonic() - began)
            after = parsed(caller.get("/metrics"))
            turns.append({series: after[series] - before[series] for series in after})

    with herd.load("Hill", *flags, seconds=seconds) as load:
        time.sleep(2)
        with thread(ask):
            time.sleep(seconds - 2)
        found = load.findings()
    rate, clients = found["answers_per_second"], found["latency_us"]["p99"] / 1000
    turn = 1000 * turns[0]["herd_loop_busy_seconds_total"] / turns[0]["herd_loop_turns_total"]
    for what, of_path in waits.items():
        p50, p99 = (1000 * percentile(of_path, percent) for percent in (50, 99))
        yield (f"{what} beside {beside}: p99 of {len(of_path)}",
               f"{p99:.1f} ms{verdict(p99, 20)}, {p99 / turn:.1f} turns; p50 {p50:.1f} ms", "20 ms")
    asleep = 1000 * percentile(sleeps, 99)
    yield (f"meanwhile, with a load average of {os.getloadavg()[0]:.1f}: a turn; p99 of clients; "
           "p99 of waking up", f"{turn:.2f} ms; {clients:.1f} ms; {asleep:.1f} ms", "")
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
