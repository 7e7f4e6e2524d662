#!/usr/bin/env python3
"""What a journal costs a server that runs: run it as `benches/journal_costs.py`.

    benches/journal_costs.py [--herd PROGRAM] [--clients N] [--seconds S] [--rounds N] [PART ...]

Prints one row for each figure, beside what was wished for. Nothing here fails because the machine
is slow: these are measurements, and tests have the bounds. Parts:

    turns       a server whose syncs take 3 s, and one beside which another program syncs without
                pause: its longest turn, its links, and how soon operators are answered
    disk        bytes on the disk for each client, and bytes written for each byte of news
    memory      resident bytes of a client with a journal and without, and what a compaction adds
    compaction  requests a second at pipeline 16 of a journal that is compacted as it must be,
                beside one that never is; and how many more turns are long
    loading     how soon a server that was killed knows its clients again, by its log: when all was
                just written anew, and when the journal is as long as it becomes; the least of
                the rounds, and the processor time of its process until then
    mended      a journal that was spoilt, and one that is gone: how soon a server with one peer
                holds all that the peer holds

`--clients` is for disk, memory, loading and mended. It must be able to use strace for a part of `turns`.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
sys.dont_write_bytecode = True
from faults.herds import TIMEOUT_S, Herd, until  # noqa: E402

STALL_S = 3
# The journal of a hundred thousand clients does not become so long within a round.
NEVER = "room = 100\n"
MIB = 1 << 20
ALL = float("inf")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", help="another program than target/release/herd")
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=6, help="how long each load lasts")
    parser.add_argument("--rounds", type=int, default=3, help="of `compaction` and `loading`")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    flags = parser.parse_args()
    if unknown := set(flags.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}: see --help")
    flags.herd = str(Path(flags.herd or ROOT / "target/release/herd").resolve())
    print("| what | wished | measured |\n|---|---:|---:|")
    for part in flags.parts or PARTS:
        for what, wished, found in PARTS[part](flags):
            print(f"| {what} | {wished} | {found} |", flush=True)


class Measured(Herd):
    """A herd whose servers are looked at while they are under load."""

    def begin(self, *names, before=()):
        for name in names:
            self.start(name, before=before if name == "Hill" else (), flags=["--log-level", "off"])
        for name in names:
            assert self.ready(name), f"{name} has ended: {self.read(name + '.err')}"
        until("they are joined", lambda: all(
            peer["state"] == "up" for name in names for peer in self.status(name)["peers"]))

    def load(self, *flags):
        """A load that runs, whose findings `findings` gives."""
        words = [self.program, "bench", "--connect", f"127.0.0.1:{self.port('Hill')}",
                 "--pid", str(self.pid()), "--json", *map(str, flags)]
        return subprocess.Popen(words, cwd=self.folder, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def bench(self, *flags):
        return findings(self.load(*flags))

    def metrics(self, name="Hill"):
        """Each series and its value."""
        url = f"http://127.0.0.1:{self.port(name) + 300}/metrics"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            lines = answer.read().decode().splitlines()
        return {series: float(value) for series, value in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def turns(self):
        """How many turns there were up to each bound, in seconds."""
        bucket = re.compile(r'herd_loop_turn_duration_seconds_bucket{le="(.*)"}')
        found = {match[1]: count for series, count in self.metrics().items()
                 if (match := bucket.fullmatch(series))}
        return {float(bound.replace("+Inf", "inf")): count for bound, count in found.items()}

    def resident(self, what="VmRSS"):
        text = Path(f"/proc/{self.pid()}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+) kB", text)[1]) * 1024

    def file_bytes(self):
        return sum(path.stat().st_size for path in self.segments() if path.exists())


def findings(load):
    said, complaints = load.communicate()
    assert load.returncode == 0, complaints
    return json.loads(said)


def longer(before, after, bound):
    """How many turns were longer, between two looks."""
    return int(after[ALL] - before[ALL] - (after[bound] - before[bound]))


def longest(before, after):
    """Within which bound the longest turn was."""
    bounds = sorted(after)
    below = 0
    for bound in bounds:
        count = after[bound] - before[bound]
        if count > below:
            found, below = bound, count
    return f"within {found * 1000:g} ms"


# ---- turns ----

def turns(flags):
    if shutil.which("strace"):
        stall = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync"]
        yield from look_at_turns(flags, "strace, no fault", stall, contextlib.nullcontext())
        stall += ["-e", f"inject=fdatasync:delay_enter={STALL_S}s"]
        yield from look_at_turns(flags, f"syncs of {STALL_S} s", stall, contextlib.nullcontext())
    else:
        print("==== SKIPPED: syncs of 3 s, for strace is missing")
    yield from look_at_turns(flags, "nobody else", (), contextlib.nullcontext())
    yield from look_at_turns(flags, "dd with fsync beside it", (), Neighbour())


class Neighbour:
    """Somebody who writes to the same disk and syncs, again and again."""

    def __enter__(self):
        self.file = Path(tempfile.gettempdir()) / f"neighbour-{os.getpid()}"
        script = 'while :; do dd if=/dev/zero of="$0" bs=1M count=64 conv=fsync; done'
        self.writer = subprocess.Popen(["sh", "-c", script, self.file], start_new_session=True,
                                       stderr=subprocess.DEVNULL)

    def __exit__(self, *_):
        os.killpg(self.writer.pid, 9)
        self.writer.wait()
        self.file.unlink(missing_ok=True)


def look_at_turns(flags, what, before, beside):
    """Two servers, 5,000 reports a second, and an operator who asks all the time."""
    with Measured(flags.herd, 2) as herd:
        herd.begin("Hill", "Jaquez", before=before)
        first = herd.turns()
        links = {series: count for series, count in herd.metrics().items()
                 if series.startswith("herd_peer_link_losses_total")}
        with beside:
            load = herd.load("--rate", 5000, "-c", 50, "-s", max(flags.seconds, 2 * STALL_S),
                             "--clients", 1000)
            commands, requests = [], []
            while load.poll() is None:
                began = time.monotonic()
                herd.status()
                commands.append(time.monotonic() - began)
                began = time.monotonic()
                last = herd.turns()
                requests.append(time.monotonic() - began)
                time.sleep(0.02)
        found = findings(load)
        lost = sum(herd.metrics()[series] for series in links) - sum(links.values())
        yield f"{what}: longest turn; above 3 ms, of all", "5 ms", \
            f"{longest(first, last)}; {longer(first, last, 0.003)} of " \
            f"{int(last[ALL] - first[ALL])}"
        yield f"{what}: `herd status`, p50 and longest", "50 ms", shown(commands)
        yield f"{what}: operators' port, p50 and longest", "50 ms", shown(requests)
        late = found["latency_us"]
        yield f"{what}: an answer, p50 and longest; errors; links lost", "-; 0; 0", \
            f"{late['p50'] / 1000:.1f} and {late['max'] / 1000:.0f} ms; {found['errors_total']}; " \
            f"{lost:.0f}"


def shown(times):
    return f"{statistics.median(times) * 1000:.0f} and {max(times) * 1000:.0f} ms"


# ---- disk ----

def disk(flags):
    with Measured(flags.herd) as herd:
        herd.begin("Hill")
        # All clients are known, and then report again.
        fill(herd, flags.clients)
        first, most, mean = herd.metrics(), 0, line_bytes(herd)
        load = herd.load("-p", 16, "-s", 3 * flags.seconds, "--clients", flags.clients)
        while load.poll() is None:
            most = max(most, herd.file_bytes())
            time.sleep(0.02)
        findings(load)
        last, known = herd.metrics(), herd.status()["clients_known"]

        def grown(name):
            return sum(last[series] - first[series] for series in last if series.startswith(name))
        news = mean * grown('herd_reports_total{from="client",verdict="news"}')
        yield f"disk, {known:,} clients of {mean:.0f} bytes: most bytes a client, beside 48 MiB", \
            500, f"{(most - 48 * MIB) / known:.0f}"
        yield f"disk: bytes of reports written for each of news, of {news / 1e6:,.0f} MB", 1.5, \
            f"{grown('herd_journal_written_bytes_total') / news:.2f}"


def fill(herd, clients):
    """Has all of them report once at least, and the server settle."""
    while herd.status()["clients_known"] < clients:
        herd.bench("-p", 64, "-s", 2, "--warm-up", 0, "--clients", clients)
    until("the journal is quiet", lambda: herd.status().get("journal") is None
          or herd.journal()["state"] == "well")


def line_bytes(herd):
    lines = subprocess.run([herd.program, "dump", "Hill", "--config", "herd.toml"],
                           cwd=herd.folder, capture_output=True, check=True).stdout
    return len(lines) / max(lines.count(b"\n"), 1)


# ---- memory ----

def memory(flags):
    sizes = {}
    for keep in "off", "written":
        with Measured(flags.herd, keep=keep) as herd:
            herd.begin("Hill")
            fill(herd, 1000)
            empty = herd.resident()
            fill(herd, flags.clients)
            sizes[keep] = full = herd.resident()
            yield f"memory, `{keep}`: bytes a client, of {flags.clients:,}", \
                108 if keep == "written" else "", f"{(full - empty) / flags.clients:.1f}"
            if keep == "off":
                continue
            yield "memory: MiB more than `off` in all", 12, f"{(full - sizes['off']) / MIB:.1f}"
            most = full
            herd.ask("journal", "compact", "Hill", "--config", "herd.toml")
            while herd.journal()["state"] == "compacting":
                most = max(most, herd.resident())
            yield "memory: MiB more while it is compacted", 1, f"{(most - full) / MIB:.2f}"


# ---- compaction ----

def compaction(flags):
    """Two servers in turns, so that both meet the same machine."""
    rooms = {"never": NEVER, "as it must be": ""}
    with contextlib.ExitStack() as stack:
        herds = {room: stack.enter_context(Measured(flags.herd, sections=text))
                 for room, text in rooms.items()}
        rates, longs, counts = ({room: [] for room in rooms} for _ in range(3))
        for herd in herds.values():
            herd.begin("Hill")
            fill(herd, 100_000)
        for _ in range(flags.rounds):
            for room, herd in herds.items():
                first = herd.turns()
                found = herd.bench("-p", 16, "-s", flags.seconds / 2)
                last = herd.turns()
                rates[room].append(found["answers_per_second"])
                longs[room].append(longer(first, last, 0.001))
                counts[room].append(found["cpu_us_per_answer"])
                if room == "never":
                    # Its disk is not for this.
                    herd.ask("journal", "compact", "Hill", "--config", "herd.toml")
                    until("it is compacted", lambda: herd.journal()["state"] == "well")
        share = [few / many for few, many in zip(rates["as it must be"], rates["never"])]
        cpu = [dear / cheap for dear, cheap in zip(counts["as it must be"], counts["never"])]
        yield "compaction at pipeline 16: requests a second, of those without", 0.95, \
            f"{statistics.median(share):.2f}"
        yield "compaction: CPU time a request, of that without", "", f"{statistics.median(cpu):.2f}"
        yield "compaction: turns above 1 ms, with and without", "as many", \
            f"{statistics.median(longs['as it must be']):.0f} and " \
            f"{statistics.median(longs['never']):.0f}"


# ---- loading ----

def loading(flags):
    with Measured(flags.herd) as herd:
        herd.begin("Hill")
        fill(herd, flags.clients)
        herd.ask("journal", "compact", "Hill", "--config", "herd.toml")
        until("it is compacted", lambda: herd.journal()["state"] == "well")
        herd.kill()
        yield "loading, after a compaction: s, CPU s", 0.8, shortest(herd, flags)
        herd.begin("Hill")
        load = herd.load("-p", 16, "-s", 60, "--clients", flags.clients)
        # It is never longer than when it begins to write everything anew.
        until("it is compacted", lambda: herd.journal()["state"] == "compacting")
        herd.kill()
        load.communicate()
        yield "loading, as long as a journal becomes: s, CPU s", 3, shortest(herd, flags)


def shortest(herd, flags):
    """The quickest of some starts."""
    found = []
    for _ in range(flags.rounds):
        herd.start()
        assert herd.ready(), "it does not start"
        cpu = sum(map(int, Path(f"/proc/{herd.pid()}/stat").read_text().split()[13:15]))
        said = re.findall(r"journal loaded clients=(\d+) reports=(\d+) .* ms=(\d+)", herd.log())
        found.append((int(said[-1][2]) / 1000, cpu / os.sysconf("SC_CLK_TCK"), *said[-1][:2]))
        herd.kill()
    took, cpu, clients, reports = min(found)
    return f"{took:.2f}, {cpu:.2f} for {int(clients):,} clients in {int(reports):,} reports"


# ---- mended ----

def mended(flags):
    for what, spoil in [("a sector of each file is spoilt", spoil_sectors),
                        ("a file is gone", remove_one), ("all is gone", remove_all)]:
        with Measured(flags.herd, 2) as herd:
            herd.begin("Hill", "Jaquez")
            fill(herd, flags.clients)
            same(herd)
            herd.kill()
            spoil(herd)
            herd.start(flags=["--log-level", "off"])
            assert herd.ready(), "it does not start"
            began, known = time.monotonic(), herd.status()["clients_known"]
            same(herd)
            took = time.monotonic() - began
            yield f"{what}: it begins with {known:,} of {flags.clients:,} clients; all after", \
                "2 s", f"{took:.1f} s"


def same(herd):
    until("they hold the same", lambda: herd.status("Hill")["digest"]
          == herd.status("Jaquez")["digest"])


def spoil_sectors(herd):
    for path in herd.segments():
        if (length := path.stat().st_size) > 4096:
            with open(path, "r+b") as file:
                file.seek(length // 2 // 512 * 512)
                file.write(os.urandom(512))


def remove_one(herd):
    max(herd.segments(), key=lambda path: path.stat().st_size).unlink()


def remove_all(herd):
    shutil.rmtree(herd.place())


PARTS = {"turns": turns, "disk": disk, "memory": memory, "compaction": compaction,
         "loading": loading, "mended": mended}

if __name__ == "__main__":
    sys.exit(main())
