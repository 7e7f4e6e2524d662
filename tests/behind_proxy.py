#!/usr/bin/env python3
"""A herd behind HAProxy, and behind nginx, which say by the PROXY protocol which client they speak
for: run it as `tests/behind_proxy.py`.

    tests/behind_proxy.py [--herd PROGRAM] [--clients N] [haproxy] [nginx]

Goal: while all five servers are reloaded and restarted, one after the other, no answer is lost inside
a connection, no report at all, and each client's own address is what the herd sees. Method: clients
connect to the proxy only, report once a second, and come again when they are let go of, as a client
of any load balancer does. HAProxy asks `/readyz`, and sends heads of version 2 to some servers and of
version 1 to the others. nginx asks nothing and sends version 1: it goes to the next server when one
refuses.

Needs haproxy and nginx with its stream module: as root they are installed by apt, else what lacks is
skipped, in words that .ci/run counts.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from faults.herds import NAMES, TIMEOUT_S, Herd, until

ROOT = Path(__file__).resolve().parent.parent
# The proxy needs six tenths of a second to see that a server is not ready.
LIMITS = '[limits]\nlame_duck_grace = "2 s"\nlame_duck = "4 s"\nbackoff_max = "200 ms"\n'
# Where clients come from: addresses of this machine that are not the proxy's.
NETWORK = "127.7."


# The module of nginx is a file of its own on Debian.
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def have(proxy):
    """Whether it is there; as root, apt may bring it."""
    def is_there():
        return shutil.which(proxy) and (proxy != "nginx" or STREAM.exists())

    if not is_there() and os.geteuid() == 0 and shutil.which("apt-get"):
        packages = [proxy] if proxy == "haproxy" else ["nginx-light", "libnginx-mod-stream"]
        subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL)
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(install, stdout=subprocess.DEVNULL, env=environment)
    return is_there()


def start_nginx(herd, port, count):
    servers = "".join(f"        server 127.0.0.1:{herd.port(name)} max_fails=1 fail_timeout=1s;\n"
                      for name in NAMES)
    (herd.folder / "nginx.conf").write_text(
        f"load_module {STREAM};\ndaemon off;\nworker_processes 1;\npid nginx.pid;\n"
        f"error_log stderr crit;\nevents {{ worker_connections {4 * count}; }}\n"
        f"stream {{\n    upstream herd {{\n        least_conn;\n{servers}    }}\n"
        f"    server {{\n        listen 127.0.0.1:{port} backlog=4096;\n        proxy_pass herd;\n"
        "        proxy_protocol on;\n        proxy_connect_timeout 2s;\n"
        "        proxy_timeout 6m;\n    }\n}\n")
    command = ["nginx", "-p", str(herd.folder), "-c", "nginx.conf", "-e", "stderr"]
    return subprocess.Popen(command, cwd=herd.folder)


def start_haproxy(herd, port, count):
    (herd.folder / "haproxy.cfg").write_text(proxy_settings(herd, port, count))
    return subprocess.Popen(["haproxy", "-db", "-q", "-f", herd.folder / "haproxy.cfg"])


# How each is started, and whether it resets a client who speaks at the moment of the end: nginx
# closes with what it has not read.
PROXIES = {"haproxy": (start_haproxy, False), "nginx": (start_nginx, True)}


def proxy_settings(herd, port, count):
    servers = "".join(
        f"    server {name} 127.0.0.1:{herd.port(name)} send-proxy{'-v2' if at % 2 else ''} "
        f"check port {herd.port(name) + 300} inter 300ms fall 2 rise 1\n"
        for at, name in enumerate(NAMES))
    return (f"global\n    nbthread 1\n    maxconn {4 * count}\n"
            "defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 6m\n"
            "    timeout server 6m\n    retries 3\n    option redispatch\n"
            f"frontend clients\n    bind 127.0.0.1:{port}\n    default_backend herd\n"
            f"backend herd\n    balance leastconn\n    option httpchk GET /readyz\n{servers}")


class Client:
    """Reports once a second, over one connection after the other."""

    def __init__(self, number, port, resets):
        self.number, self.port, self.resets = number, port, resets
        self.address = f"{NETWORK}{number // 250}.{1 + number % 250}"
        self.time = self.answered = 0
        # When its connections were ended between two answers, and how often on the moment of a line.
        self.ends, self.late, self.lost = [], 0, []

    async def talk(self, is_over):
        await asyncio.sleep(self.number / 1000 % 1)
        while not is_over.is_set():
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, local_addr=(self.address, 0))
            except OSError as error:
                # The proxy itself is there before its clients, but for a moment.
                if self.answered:
                    self.lost.append(f"it was not let in: {error}")
                await asyncio.sleep(0.2)
                continue
            try:
                await self.report(reader, writer, is_over)
            except (ConnectionError, asyncio.TimeoutError) as error:
                if self.resets and isinstance(error, ConnectionResetError):
                    self.ends.append(time.monotonic())
                    self.late += 1
                else:
                    self.lost.append(repr(error))
            writer.close()

    async def report(self, reader, writer, is_over):
        while not is_over.is_set():
            self.time += 1
            line = f" client-{self.number} +1-1 {self.time}\n"
            writer.write(f"IAMAT{line}".encode())
            answer = (await asyncio.wait_for(reader.readline(), TIMEOUT_S)).decode()
            if not answer:
                self.ends.append(time.monotonic())
                self.late += 1
                return
            if not answer.startswith("AT ") or not answer.endswith(line):
                self.lost.append(f"half an answer: {answer!r}")
                return
            self.answered = self.time
            try:
                # Nobody says anything unasked, so what comes is the end.
                await asyncio.wait_for(reader.read(1), 1)
                self.ends.append(time.monotonic())
                return
            except asyncio.TimeoutError:
                pass


def restart_all(herd):
    """What an operator does to a herd in a day, in a minute."""
    for name in NAMES:
        told = herd.ask("reload", "--wait", name, "--run-dir", "run")
        assert told.returncode == 0, told.stderr
        began = time.monotonic()
        os.kill(herd.pid(name), signal.SIGTERM)
        code = herd.running.pop(name).wait(2 * TIMEOUT_S)
        assert code == 0, f"{name} has ended with {code}"
        herd.start(name)
        assert herd.ready(name), f"{name} does not start"
        until(f"{name} is ready", lambda name=name: is_ready(herd, name))
        # Until the proxy has seen it.
        time.sleep(1)
        print(f"{name}: restarted in {time.monotonic() - began:.1f} s")


def is_ready(herd, name):
    try:
        url = f"http://127.0.0.1:{herd.port(name) + 300}/readyz"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
            return reply.status == 200
    except OSError:
        return False


def addresses(herd):
    found = set()
    for name in NAMES:
        url = f"http://127.0.0.1:{herd.port(name) + 300}/connections?limit=1000"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
            connections = json.load(reply)["connections"]
        found |= {it["from"].rsplit(":", 1)[0] for it in connections if it["door"] == "client"}
    return found


async def crowd(herd, proxy, clients):
    is_over = asyncio.Event()
    tasks = [asyncio.create_task(client.talk(is_over)) for client in clients]
    loop = asyncio.get_running_loop()
    while not all(client.answered for client in clients):
        assert proxy.poll() is None, "the proxy has ended"
        await asyncio.sleep(0.1)
    seen = await loop.run_in_executor(None, addresses, herd)
    assert seen == {client.address for client in clients}, f"{len(seen)} addresses are seen"
    await loop.run_in_executor(None, restart_all, herd)
    is_over.set()
    await asyncio.gather(*tasks)


def held(herd, name):
    """The time of each client's last report, as one server has it."""
    told = herd.ask("dump", name, "--run-dir", "run").stdout
    reports = (line.split() for line in told.splitlines())
    return {fields[3]: int(fields[5]) for fields in reports if fields[:1] == ["AT"]}


def behind(name, program, count):
    start_proxy, resets = PROXIES[name]
    with Herd(program, len(NAMES), keep="off", sections=LIMITS) as herd:
        toml = herd.folder / "herd.toml"
        toml.write_text('proxy_from = ["127.0.0.1"]\n' + toml.read_text())
        for name in NAMES:
            herd.start(name)
        for name in NAMES:
            assert herd.ready(name), f"{name} has not come up"
        # Beside the ports that are claimed.
        port = herd.base + 450
        proxy = start_proxy(herd, port, count)
        try:
            clients = [Client(number, port, resets) for number in range(count)]
            asyncio.run(crowd(herd, proxy, clients))
            until("all hold the same",
                  lambda: len({herd.status(name)["digest"] for name in NAMES}) == 1)
            wrong = [f"{client.address}: {lost}" for client in clients for lost in client.lost]
            assert not wrong, f"{len(wrong)} are lost, as {wrong[:5]}"
            known = held(herd, NAMES[0])
            gone = [it for it in clients if known.get(f"client-{it.number}", 0) < it.answered]
            assert not gone, f"{len(gone)} reports are lost that were answered"
        finally:
            proxy.terminate()
            proxy.wait(TIMEOUT_S)
        ends = sorted(end for client in clients for end in client.ends)
        most = max(sum(first <= end < first + 1 for end in ends) for first in ends)
        answers = sum(client.answered for client in clients)
        late = sum(client.late for client in clients)
        return (f"{count} clients, {answers} reports: 0 answers and 0 reports lost, {len(ends)} "
                f"connections let go of ({late} on the moment of a line), {most} in a second at most")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--herd", type=Path, default=ROOT / "target/release/herd")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("proxies", nargs="*", metavar="PROXY", help=", ".join(PROXIES))
    given = parser.parse_args()
    if unknown := set(given.proxies) - set(PROXIES):
        parser.error(f"there is no {', '.join(unknown)}: see --help")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 8 * given.clients:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8 * given.clients), hard))
    sys.stdout.reconfigure(line_buffering=True)
    for name in given.proxies or PROXIES:
        if have(name):
            print(f"{name}: {behind(name, given.herd.resolve(), given.clients)}")
        else:
            print(f"==== SKIPPED: {name} was not put in front of a herd, for it is missing")


if __name__ == "__main__":
    sys.exit(main())
