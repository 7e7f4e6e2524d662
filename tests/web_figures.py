#!/usr/bin/env python3
"""Figures of the web port: run it as `tests/web_figures.py [--herd PROGRAM] [FIGURE …]`.

It measures, and holds nothing to a bound: a busy machine only makes figures worse.

  events    five servers in a ring: from a report at A to its event at another one, every=50
  crowd     1,000 followers of one area in which 1,000 clients report once a second, every=250:
            the server's CPU time, in parts of a core
  resume    a follower of 10,000 clients comes back after a break in which half of them have changed
            some: how often it hears of each, how long that takes, and how long the server computes
            and how often it sleeps meanwhile; and a snapshot elsewhere
  slowloris 10,000 heads that are never whole, or as many as a server has descriptors for, while
            another client asks: its p99, with and without
"""

import argparse
import collections
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from net.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 60
TICKS = os.sysconf("SC_CLK_TCK")


class Herd:
    """Servers A, B, … in a ring, or one alone."""

    def __init__(self, program, count, limits=""):
        self.folder = tempfile.TemporaryDirectory()
        names = "ABCDE"[:count]
        ring = zip(names, names[1:] + names[:1]) if count > 2 else zip(names, names[1:])
        text = 'herd = "web"\nlinks = [' + ", ".join(f'["{a}", "{b}"]' for a, b in ring) + "]\n"
        text += f"[journal]\nkeep = \"off\"\n[limits]\nclients_max = 100000\n{limits}"
        self.ports = {}
        for name in names:
            clients, peers, web = free_ports(3)
            self.ports[name] = {"clients": clients, "web": web}
            text += (
                f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{clients}"\n'
                f'peers = "127.0.0.1:{peers}"\nweb = "127.0.0.1:{web}"\n'
                'mqtt = "off"\noperators = "off"\n'
            )
        (Path(self.folder.name) / "herd.toml").write_text(text)
        self.servers = {name: self.start(program, name) for name in names}
        time.sleep(1 if count > 1 else 0)

    def start(self, program, name):
        command = [program, "serve", name, "--config", "herd.toml", "--log-level", "off"]
        command += ["--places", "google-legacy", "--places-url", "http://127.0.0.1:9"]
        server = subprocess.Popen(command, cwd=self.folder.name, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self.connect(name, "web").close()
                return server
            except OSError:
                assert server.poll() is None, f"{name} has ended"
                time.sleep(0.02)
        raise AssertionError(f"{name} does not listen")

    def connect(self, name, door):
        stream = socket.create_connection(("127.0.0.1", self.ports[name][door]), TIMEOUT_S)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream

    def cpu_s(self, name):
        fields = Path(f"/proc/{self.servers[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def work_of(self, name):
        """Nanoseconds that a server has computed for, and how often it has slept."""
        proc = Path(f"/proc/{self.servers[name].pid}")
        status = (proc / "status").read_text().splitlines()
        slept = next(row for row in status if row.startswith("voluntary_ctxt_switches"))
        return int((proc / "schedstat").read_text().split()[0]), int(slept.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers.values():
            server.kill()
            server.wait()
        self.folder.cleanup()


class Reporter:
    """Reports by the course's lines, and waits for each answer, or for those of a batch."""

    def __init__(self, herd, name):
        self.stream = herd.connect(name, "clients")
        self.answers = self.stream.makefile("rb")

    def report(self, lines):
        self.stream.sendall(b"".join(lines))
        for _ in lines:
            assert self.answers.readline().startswith(b"AT ")


def line(client, latitude, longitude, now=None):
    now = time.time() if now is None else now
    return f"IAMAT {client} {latitude:+.6f}{longitude:+.6f} {now:.9f}\n".encode()


class Follower:
    """One stream of events, read one by one."""

    def __init__(self, herd, name, query, last=None):
        self.stream = herd.connect(name, "web")
        head = f"GET /v1/follow?{query} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Last-Event-ID: {last}\r\n" if last else ""
        self.stream.sendall(f"{head}\r\n".encode())
        self.file = self.stream.makefile("rb", 1 << 16)
        assert self.file.readline().startswith(b"HTTP/1.1 200")
        self.last = last

    def event(self):
        name, data = None, None
        for text in self.file:
            text = text.rstrip(b"\r\n")
            if text.startswith(b"event: "):
                name = text[7:].decode()
            elif text.startswith(b"data: "):
                data = json.loads(text[6:])
            elif text.startswith(b"id: "):
                self.last = text[4:].decode()
            elif not text and name:
                return name, data
        raise AssertionError("the stream has ended")

    def until_ready(self):
        """How often it hears of each client, up to `ready`."""
        heard, hello = collections.Counter(), None
        while True:
            name, data = self.event()
            if name == "hello":
                hello = data
            elif name == "move":
                heard.update(row[0] for row in data)
            elif name == "ready":
                return hello, heard


def percentile(times, part):
    return sorted(times)[min(int(len(times) * part), len(times) - 1)]


def events(program):
    with Herd(program, 5) as herd:
        reporter, follower = Reporter(herd, "A"), Follower(herd, "C", "id=kiwi&every=50")
        follower.until_ready()
        times = []
        for number in range(500):
            # Not in step with the turns of the follower.
            time.sleep(0.05 + (number * 37 % 50) / 1000)
            began = time.monotonic()
            reporter.report([line("kiwi", 60 + number / 1000, 24)])
            while follower.event()[0] != "move":
                pass
            times.append((time.monotonic() - began) * 1000)
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        print(f"events: report at A to event at C, ms: p50 {p50:.1f}, p99 {p99:.1f} (goal: p99 60)")


def crowd(program, followers=1000, clients=1000, seconds=10):
    with Herd(program, 1) as herd:
        reporter = Reporter(herd, "A")
        reporter.report([line(f"c{n}", 60 + n / 1e4, 24.5) for n in range(clients)])
        readers = selectors.DefaultSelector()
        for _ in range(followers):
            stream = herd.connect("A", "web")
            path = "/v1/follow?bbox=24,60,25,61&every=250"
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            stream.setblocking(False)
            readers.register(stream, selectors.EVENT_READ)

        def read(until):
            count = 0
            while time.monotonic() < until:
                for key, _ in readers.select(max(until - time.monotonic(), 0)):
                    try:
                        count += len(key.fileobj.recv(1 << 18))
                    except BlockingIOError:
                        pass
            return count

        read(time.monotonic() + 5)
        cpu, began, count, step = herd.cpu_s("A"), time.monotonic(), 0, 0
        while step < seconds * 20:
            batch = range(step % 20 * clients // 20, (step % 20 + 1) * clients // 20)
            reporter.report([line(f"c{n}", 60 + n / 1e4, 24.5 + step / 1e4) for n in batch])
            step += 1
            count += read(began + step / 20)
        spent, passed = herd.cpu_s("A") - cpu, time.monotonic() - began
        print(
            f"crowd: {followers} followers, {clients} clients at 1 Hz: {spent / passed:.2f} of a "
            f"core, {count / passed / 1e6:.1f} MB/s (goal: 0.5)"
        )


def resume(program, clients=10_000):
    with Herd(program, 2) as herd:
        reporter = Reporter(herd, "A")
        names = [f"c{n}" for n in range(clients)]

        def report(some, latitude):
            for first in range(0, len(some), 500):
                reporter.report([line(name, latitude, 24.5) for name in some[first : first + 500]])

        report(names, 60)
        follower = Follower(herd, "A", "every=50")
        _, heard = follower.until_ready()
        assert len(heard) == clients, f"the first snapshot has {len(heard)}"
        follower.stream.close()
        changed = names[::2]
        for round_number in range(3):
            report(changed, 61 + round_number)
        (computed, slept), began = herd.work_of("A"), time.monotonic()
        hello, heard = Follower(herd, "A", "every=50", follower.last).until_ready()
        took, then = (time.monotonic() - began) * 1000, herd.work_of("A")
        assert hello["resumed"], hello
        assert set(heard) == set(changed), "who has changed, and nobody else"
        most = max(heard.values())
        changed = f"{len(heard)} changed clients, each at most {most}"
        computed, slept = (then[0] - computed) / 1e6, then[1] - slept
        print(
            f"resume: {changed}, in {took:.0f} ms (goal: 20), in which the server computes for "
            f"{computed:.1f} ms and sleeps {slept} times"
        )
        began = time.monotonic()
        hello, heard = Follower(herd, "B", "every=50", follower.last).until_ready()
        took = (time.monotonic() - began) * 1000
        assert not hello["resumed"] and len(heard) == clients, (hello, len(heard))
        print(f"resume: elsewhere, a snapshot of {clients} in {took:.0f} ms (goal: 300)")


def slowloris(program, halves=10_000):
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A server gives its web port a tenth of what it may open, where that is less than it would like.
    halves = min(halves, hard // 10 - 200)
    if halves < 500:
        print(f"==== SKIPPED: slowloris, for a process may open only {hard} files")
        return
    with Herd(program, 1, 'partial_line = "60 s"\nconnections_max = 30000\n') as herd:
        phone = herd.connect("A", "web")
        body = "id=kiwi&lat=60.1&lon=24.9"
        request = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"

        def p99():
            times = []
            for _ in range(3000):
                began = time.monotonic()
                phone.sendall(request.encode())
                assert b"200 OK" in phone.recv(4096)
                times.append((time.monotonic() - began) * 1e6)
            return percentile(times, 0.99)

        def memory_kb():
            status = Path(f"/proc/{herd.servers['A'].pid}/status").read_text()
            rows = status.splitlines()
            return int(next(row for row in rows if row.startswith("VmRSS")).split()[1])

        without, memory = [p99() for _ in range(3)], memory_kb()
        open_halves = []
        for number in range(halves):
            # One host has ports for 28,000 connections to one address, and may have fewer.
            half = socket.create_connection(("127.0.0.1", herd.ports["A"]["web"]), TIMEOUT_S)
            half.sendall(b"POST /report HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            open_halves.append(half)
        time.sleep(1)
        within, more = [p99() for _ in range(3)], memory_kb() - memory
        ratio = sorted(within)[1] / sorted(without)[1]
        print(
            f"slowloris: p99 {sorted(without)[1]:.0f} µs alone, {sorted(within)[1]:.0f} beside "
            f"{halves} half-sent heads: {ratio:.2f} (goal: 2); {more * 1024 / halves:.0f} B each"
        )


FIGURES = {"events": events, "crowd": crowd, "resume": resume, "slowloris": slowloris}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", default=str(ROOT / "target" / "release" / "herd"))
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []])
    options = parser.parse_args()
    for name in options.figures or FIGURES:
        FIGURES[name](options.herd)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
