#!/usr/bin/env python3
"""An hour in the life of an operator: run it as `tests/hour.py`.

    tests/hour.py [--herd PROGRAM] [--minutes N] [--seed N] [ACT ...]

Goal: whatever happens to a herd in a year, nothing that was answered is lost, each alert that should
fire fires, and no other one does. Method: five machines (`net/machines.py`), and a sixth with
HAProxy, a Prometheus and a hundred clients (`net/front.py`). One act comes after the other: servers
are restarted, cut off, killed and flooded, keys and certificates change, disks are full, a clock is
wrong. After each, all is well again before the next. When all have been, they come in another order,
until the minutes are over. A minute of the alerts is a second here.

It needs Linux, root, iproute2, /dev/net/tun, openssl, HAProxy and Prometheus, of which it installs
the last two; for a wrong clock it needs libfaketime, and builds a server that can be lied to; for an
engine it needs nats-server. What cannot be done is skipped, in words that .ci/run counts.
"""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from faults.herds import NAMES, Skipped, until
from machines import is_ready, lacks
from net.acts import ACTS, CONNECTIONS, FRONT, TLS_PORT, make_certificate
from net.front import Front, have
from net.machines import Machines

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 100
# The longest of the quick rules looks back for a minute.
ALERT_MAX_S = 180
# What they count lies up to an hour back: one more has them fire again in the next act.
LOOKING_BACK = {"HerdLinkFlaps", "HerdFlaps"}
# A journal of this herd takes eighty megabytes at most.
SMALL_DISKS = {"journal/Jaquez": "160m", "log": "64m"}

SECTIONS = f"""
[limits]
ping_after = "1 s"
silence_max = "3 s"
backoff_max = "1 s"
compare_every = "1 s"
lame_duck_grace = "2 s"
lame_duck = "3 s"
connections_max = {CONNECTIONS}
[tls]
cert = "server.pem"
key = "server.pem"
peers = "prefer"
[journal]
keep = "written"
"""


class Hour(Machines):
    """The herd, with what is in front of it."""

    def __init__(self, program, seed, liar):
        self.liar = liar
        self.expected, self.since, self.series = set(), 0.0, None
        self.fired_before = set()
        super().__init__(program, seed, SECTIONS, operators=True, others=1)
        self.front = Front(self, FRONT, CLIENTS)
        make_certificate(self.folder, days=400)

    def build(self):
        # One journal on a small disk, and the logs on another one: see `filled`.
        for folder, size in SMALL_DISKS.items():
            (self.folder / folder).mkdir(parents=True)
            mount(self.folder / folder, size)
        super().build()
        self.front.start()

    def __exit__(self, error, *rest):
        if error is not None:
            print(f"{self.front.crowd.failed!r}; firing: {self.front.firing()}")
        self.front.close()
        super().__exit__(error, *rest)
        for folder in SMALL_DISKS:
            subprocess.run(["umount", "-l", self.folder / folder], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name, before=(), flags=()):
        address = self.addresses[NAMES.index(name)]
        flags = [*flags, f"--proxy-from={self.addresses[FRONT]}", f"--tls-clients={address}:{TLS_PORT}"]
        usual = self.program
        if name == "Smith" and self.liar:
            program, library = self.liar
            self.program = program
            # What is measured in seconds since the start stays true.
            before = ["env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={self.folder}/clock",
                      "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
                      "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", *before]
            self.set_clock("+0")
        super().start(name, before, flags)
        self.program = usual

    def set_clock(self, offset):
        """Sets Smith's clock, by a part of a day and at once."""
        new = self.folder / "clock.new"
        new.write_text(offset + "\n")
        new.rename(self.folder / "clock")

    def isolate(self, name, order="cut"):
        """Nothing comes to a machine or from it, neither from the front."""
        self.cut_off(name, order=order)
        machine = NAMES.index(name)
        self.order(order, machine, FRONT)
        self.order(order, FRONT, machine)

    def until_firing(self, *alerts, meanwhile=lambda: None):
        """Until these alerts have fired, or each of this act."""
        wanted = set(alerts) or self.expected
        end = time.monotonic() + ALERT_MAX_S
        while missing := wanted - self.front.fired(self.since):
            assert time.monotonic() < end, f"in vain: {missing} fire"
            meanwhile()
            time.sleep(0.2)

    def until_ready(self, name):
        until(f"{name} is ready", lambda: is_ready(self.measured(name)))

    def reload(self, *names, code=0):
        for name in names:
            told = self.ask("reload", "--wait", name, "--config", "herd.toml")
            assert told.returncode == code, (told.returncode, told.stdout, told.stderr)

    @contextlib.contextmanager
    def changed(self, change):
        """herd.toml is another one for a while."""
        path = self.folder / "herd.toml"
        before = path.read_text()
        path.write_text(change(before))
        yield
        path.write_text(before)

    @contextlib.contextmanager
    def filled(self, folder):
        """A disk has no room for a while."""
        filler = self.folder / folder / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
        filler.unlink()

    def losses(self):
        """How many links were lost, by all servers."""
        series = "herd_peer_link_losses_total"
        return sum(value for name in NAMES for series_of, value in self.measured(name).items()
                   if series_of.startswith(series))

    def make_well(self):
        """All is well again, nothing is lost."""
        until("no alert fires", lambda: not self.front.firing(), ALERT_MAX_S)
        crowd = self.front.crowd
        crowd.pause()
        self.until_equal()
        for name in NAMES:
            lost = lacks(self, name, crowd.answered())
            assert not lost, f"{name} does not hold what was answered: {lost}"
        crowd.resume()
        assert crowd.failed is None, crowd.failed

    def play(self, name):
        """Has an act happen. Says which alerts have fired."""
        play, self.expected, may, breaks = ACTS[name]
        crowd, self.since = self.front.crowd, time.time()
        before = crowd.sum("unanswered")
        play(self)
        self.make_well()
        fired = self.front.fired(self.since)
        may = may | (self.fired_before & LOOKING_BACK)
        self.fired_before = fired
        assert self.expected <= fired, f"{name}: {self.expected - fired} did not fire"
        assert fired <= self.expected | may, f"{name}: {fired - self.expected - may} fired"
        lost = crowd.sum("unanswered") - before
        assert breaks or not lost, f"{name}: {lost} answers were lost inside a connection"
        return fired


def mount(folder, size):
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Skipped(f"no hour was spent, for no disk can be mounted: {done.stderr.strip()}")


def build_liar(given):
    """A server whose clock can be set, and the library that does it; nothing if there is none."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found and have("faketime"):
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        return None
    if given:
        return str(Path(given).resolve()), str(found[0])
    # The usual one asks the kernel itself what time it is. This one need not be quick.
    environment = os.environ | {"CARGO_PROFILE_RELEASE_LTO": "off",
                                "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
    target = ROOT / "target/libc-clock"
    subprocess.run(["cargo", "build", "--locked", "--release", "--features", "rustix/use-libc",
                    "--target-dir", target], cwd=ROOT, env=environment, check=True)
    return str(target / "release/herd"), str(found[0])


def spend(program, flags):
    acts = flags.acts or list(ACTS)
    wants_liar, wants_engine = "wrong_clock" in acts, "another_herd" in acts
    liar = build_liar(flags.liar) if wants_liar else None
    has_engine = wants_engine and have("nats-server")
    lacking = {"wrong_clock": not liar, "another_herd": not has_engine}
    acts = [name for name in acts if not lacking.get(name)]
    if wants_engine and not has_engine:
        print("\n==== SKIPPED: no engine was lied to, for nats-server is missing", flush=True)
    if wants_liar and not liar:
        print("\n==== SKIPPED: no clock was wrong, for libfaketime is missing", flush=True)
    end = time.monotonic() + 60 * flags.minutes
    chance, order, played, fired = random.Random(flags.seed), list(acts), 0, set()
    with Hour(program, flags.seed, liar) as hour:
        began = time.monotonic()
        while order and (time.monotonic() < end or flags.acts):
            name = order.pop(0)
            act_began = time.monotonic()
            told = hour.play(name)
            print(f"{name.replace('_', ' ')} ({time.monotonic() - act_began:.0f} s): "
                  f"{', '.join(sorted(told)) or 'silence'}", flush=True)
            played, fired = played + 1, fired | told
            if not order and not flags.acts:
                order = chance.sample(acts, len(acts))
        crowd = hour.front.crowd
        return (f"{(time.monotonic() - began) / 60:.0f} minutes, {played} acts, {CLIENTS} clients: "
                f"{crowd.sum('answers')} reports were answered and none is lost; "
                f"{crowd.sum('refusals')} refused, {crowd.sum('unanswered')} unanswered, "
                f"{crowd.sum('ends')} connections ended; {len(fired)} alerts fired, all of them rightly")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", help="another program than the one that it would build")
    parser.add_argument("--liar", help="the same, built with --features rustix/use-libc")
    parser.add_argument("--minutes", type=float, default=4, help="how long it is (4)")
    parser.add_argument("--seed", type=int, default=1, help="the order of later rounds")
    # What this script adds to its own words.
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("acts", nargs="*", metavar="ACT", help=", ".join(ACTS))
    flags = parser.parse_args()
    if unknown := set(flags.acts) - set(ACTS):
        parser.error(f"there is no act {', '.join(unknown)}: see --help")
    if not flags.apart and os.geteuid() == 0 and shutil.which("unshare"):
        # Mounts are of this process alone, and end with it.
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv, "--apart"])
    if not have("haproxy", "prometheus", "openssl"):
        print("\n==== SKIPPED: no hour was spent, for haproxy, prometheus or openssl is missing")
        return
    if not flags.herd:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=ROOT, check=True)
    program = str(Path(flags.herd or ROOT / "target/release/herd").resolve())
    try:
        print(spend(program, flags))
    except Skipped as reason:
        print(f"\n==== SKIPPED: {reason}")


if __name__ == "__main__":
    sys.exit(main())
