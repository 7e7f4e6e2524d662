#!/usr/bin/env python3
"""A herd of two regions on the real engine: two clusters of NATS that a leaf node joins, with two
servers each. Reports stay in their region; who is asked in the other one is told the newest, also
when the client has moved; who is forgotten is forgotten everywhere; and what happens while the
regions are cut from each other is known later. It says loudly what it could not do.

    tests/regions.py [--herd PATH] [--nats PATH]...
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import engine
from engine import fail, p99
from net.nats import Route
from net.ports import free_base, free_ports
from parts import Asker, metrics, until

REGIONS = {"eu": ["Anna", "Bert"], "us": ["Cleo", "Dora"]}
SERVERS = [name for names in REGIONS.values() for name in names]
# All that its own clients have said, a server tells other regions so often.
ROUND = 6
CLIENTS = 500
# Reports of each client while their way is counted.
REPORTS = 20
# A question to another region is so many times slower than one to nobody at most, by their medians.
RATIO_MAX = 50


class Leaf:
    """A node of each region. The one of us is a leaf of the other one, by a way that can be cut."""

    def __init__(self, program: str, dir: Path):
        self.processes = []
        self.clients, leaves = free_ports(2), free_ports(1)[0]
        self.way = Route(leaves)
        ends = [f"listen: 127.0.0.1:{leaves}",
                f'remotes: [ {{ url: "nats-leaf://127.0.0.1:{self.way.port}" }} ]\n  reconnect: 1']
        for node, end in enumerate(ends):
            (dir / f"n{node}.conf").write_text(
                f"host: 127.0.0.1\nport: {self.clients[node]}\nserver_name: n{node}\n"
                f"ping_interval: \"1s\"\nping_max: 2\nleafnodes {{\n  {end}\n}}\n")
            log = open(dir / f"n{node}.log", "a")
            command = [program, "-c", str(dir / f"n{node}.conf")]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


class Herd(engine.Herd):
    """Servers of both regions; each knows its own node only."""

    def __init__(self, program: str, dir: Path, leaf: Leaf):
        self.program, self.dir, self.base = program, dir, free_base(len(SERVERS))
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HERD_")}
        subprocess.run([program, "keygen", str(dir / "herd.key")], check=True, capture_output=True)
        self.processes = {}
        region = {name: region for region, names in REGIONS.items() for name in names}
        servers = "".join(
            f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{self.base + at}"\n'
            f'region = "{region[name]}"\nweb = "off"\noperators = "off"\nmqtt = "off"\n'
            for at, name in enumerate(SERVERS))
        for name in SERVERS:
            node = leaf.clients[list(REGIONS).index(region[name])]
            (dir / f"{name}.toml").write_text(
                f'herd = "real"\nkey_file = "{dir}/herd.key"\nrun_dir = "{dir}/run"\n{servers}'
                f'[engine]\nurls = ["127.0.0.1:{node}"]\ntell_every = "{ROUND} s"\n'
                # What a server knows after a start, the others have told it.
                '[journal]\nkeep = "off"\n'
                '[limits]\ncompare_every = "3 s"\nbackoff_max = "500 ms"\n'
                f'[log]\nlevel = "info"\ndir = "{dir}/log"\n')
            self.start(name)

    def ask(self, name: str, client: str) -> str:
        return Asker(self, name).ask(client)[0]

    def report(self, name: str, names: list) -> dict:
        """Each of these clients reports once to a server."""
        asker, now = Asker(self, name), f"{time.time():.6f}"
        said = "".join(f"IAMAT {client} +34.1-118.4 {now}\n" for client in names)
        asker.stream.sendall(said.encode())
        lines = [asker.answers.readline().rstrip("\n") for _ in names]
        for line in lines:
            if not line.startswith("AT "):
                fail(f"{name} answered {line!r}")
        return dict(zip(names, lines))


def told(herd: Herd, name: str, what: str) -> float:
    """Lines that a server has heard."""
    return metrics(herd, name)[f'herd_engine_{what}_total{{direction="received"}}']


def reports_stay(herd: Herd):
    """What a client says again and again crosses once, and once in each round."""
    names = [f"stay-{at}" for at in range(CLIENTS)]
    count = lambda: (told(herd, "Bert", "lines"), told(herd, "Dora", "abroad_lines"))
    before, began = count(), time.monotonic()
    for _ in range(REPORTS):
        answered = herd.report("Anna", names)
    time.sleep(1)
    rounds = (time.monotonic() - began) / ROUND + 2
    bert, dora = (after - before for before, after in zip(before, count()))
    print(f"  {CLIENTS * REPORTS} reports in eu: Bert heard {bert:.0f} lines, Dora in us {dora:.0f}, "
          f"in {rounds - 2:.1f} rounds", flush=True)
    if bert < CLIENTS * (REPORTS - 1):
        fail("Bert did not hear them")
    if not CLIENTS <= dora <= CLIENTS * rounds:
        fail("us should have heard of each once, and once a round")
    return answered


def are_asked_for(herd: Herd, answered: dict):
    """Dora is asked about clients of Anna, and of her own region."""
    here = herd.report("Cleo", [f"here-{at}" for at in range(CLIENTS)])
    time.sleep(0.5)
    asker, times, wrong = Asker(herd, "Dora"), {}, []
    for where, lines in (("here", here), ("there", answered)):
        times[where] = []
        for client, line in lines.items():
            said, took = asker.ask(client)
            times[where].append(took)
            if said != line:
                wrong.append((said, line))
    middle = {where: sorted(took)[len(took) // 2] for where, took in times.items()}
    ratio = middle["there"] / middle["here"]
    print(f"  of {2 * CLIENTS} WHATSATs {len(wrong)} wrong; here p50 {1000 * middle['here']:.2f} ms; "
          f"of another region {1000 * middle['there']:.2f} ms ({ratio:.1f} times), p99 "
          f"{1000 * p99(times['there']):.2f}; load {os.getloadavg()[0]:.1f}", flush=True)
    if wrong:
        fail(f"Dora was to know better: {wrong[0]}")
    if ratio > RATIO_MAX:
        fail(f"to ask another region takes {ratio:.0f} times as long")


def are_told(herd: Herd, client: str, line: str, seconds: float, what: str):
    """All servers say this of a client, soon."""
    def is_so():
        answers = [herd.ask(name, client) for name in SERVERS]
        return all(answer == line or answer.startswith(line + " ") for answer in answers)
    began = time.monotonic()
    until(is_so, f"{what}: {[herd.ask(name, client) for name in SERVERS]}", seconds)
    print(f"  {what} after {time.monotonic() - began:.1f} s", flush=True)


def run(program: str, nats: str):
    with tempfile.TemporaryDirectory() as home:
        dir = Path(home)
        leaf, herd = Leaf(nats, dir), None
        try:
            herd = Herd(program, dir, leaf)
            herd.until_up()
            herd.report("Anna", ["first"])
            until(lambda: herd.ask("Dora", "first").startswith("AT "), "the regions do not meet")
            answered = reports_stay(herd)
            are_asked_for(herd, answered)

            for number, name in enumerate(["Anna", "Cleo", "Bert", "Dora"]):
                line = herd.report(name, ["mover"])["mover"]
                are_told(herd, "mover", line, 5, f"move {number + 1} is known")
            herd.run("forget", "Anna", "mover")
            are_told(herd, "mover", "? WHATSAT mover 1 1", 5, "forgotten everywhere")

            leaf.way.is_cut = True
            herd.report("Anna", ["lost"])
            line = herd.report("Cleo", ["stay-0"])["stay-0"]
            if herd.ask("Bert", "stay-0") != answered["stay-0"] or herd.ask("Dora", "stay-0") != line:
                fail("a region is to answer with what it knows while it is alone")
            herd.run("forget", "Cleo", "here-0")
            time.sleep(1)
            leaf.way.heal()
            are_told(herd, "stay-0", line, ROUND + 10, "what came during a cut is known")
            are_told(herd, "here-0", "? WHATSAT here-0 1 1", ROUND + 10, "and who was forgotten")
            if not herd.ask("Dora", "lost").startswith("AT Anna"):
                fail("who came during the cut is not known")
            leaf.processes[0].kill()
            time.sleep(1)
            if not herd.ask("Dora", "stay-1").startswith("AT Anna"):
                fail("us is to tell what it knows of eu")
            print("  eu has lost its node, and us tells what it knows", flush=True)
        finally:
            if herd:
                herd.stop()
            leaf.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", default="target/release/herd")
    parser.add_argument("--nats", action="append", default=[])
    arguments = parser.parse_args()
    engine.SERVERS[:] = SERVERS
    for nats in engine.versions(arguments.nats):
        run(str(Path(arguments.herd).absolute()), nats)


if __name__ == "__main__":
    main()
