#!/usr/bin/env python3
"""A herd on five machines, whose network is slow, loses frames and falls apart: run it as
`tests/machines.py`.

    tests/machines.py [--herd PROGRAM] [--seed N] [PART ...]

Goal: what servers promise each other holds between machines, not only on loopback: a report is known
everywhere soon, nothing that was answered is lost, and after each fault all hold the same. Method:
each machine is a network namespace of this one; a switch in user space delays, loses and doubles
their frames (`net/switch.py`). The times that are printed are for people: no test fails because a
machine is busy.

It needs Linux, root, iproute2 and /dev/net/tun, and says so if it is skipped.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from faults.herds import NAMES, Skipped, until
from net.machines import PORT, Forwarder, Machines, Reporter

ROOT = Path(__file__).resolve().parent.parent
# Short times, so that a peer that is cut off is noticed while the test looks.
LIMITS = '[limits]\nping_after = "1 s"\nsilence_max = "3 s"\nbackoff_max = "1 s"\n'
# A server that has died hears about so many clients from its peers, so often.
MANY = 20_000
RESTARTS = 10


def far_apart(program, seed):
    """Each way takes 40 ms, and of 100 frames one is lost."""
    with Machines(program, seed, LIMITS) as herd:
        herd.everywhere("delay", 40)
        herd.everywhere("loss", 1)
        clients = {name: herd.connect(name) for name in NAMES}
        chance, waits = random.Random(seed), []
        for when in range(1, 61):
            origin = chance.choice(NAMES)
            clients[origin].report("kiwi", when)
            began = time.monotonic()
            for name in NAMES:
                until(f"{name} knows it", lambda name=name: clients[name].knows("kiwi") == when)
            waits.append((time.monotonic() - began) * 1000)
        herd.until_equal()
        waits.sort()
        return (f"a report was known to all after p50 {statistics.median(waits):.0f} ms, "
                f"p99 {waits[-1]:.0f} ms (one way of the longest path: 80 ms)")


def split(program, seed):
    """One machine of five is cut off without a word, and comes back; both sides went on."""
    with Machines(program, seed, LIMITS) as herd:
        herd.everywhere("delay", 10)
        reporters = [Reporter(herd, name) for name in NAMES]
        herd.cut_off("Smith")
        until("nobody believes in Smith any more",
              lambda: "up" not in herd.peers("Smith").values()
              and herd.peers("Hill")["Smith"] != "up")
        assert len(set(herd.digests().values())) > 1, "nothing was cut off"
        herd.cut_off("Smith", order="join")
        began = time.monotonic()
        until("Smith is back", lambda: set(herd.peers("Smith").values()) == {"up"})
        took = time.monotonic() - began
        told = settle(herd, reporters)
        return f"{told}; joined again {took:.1f} s after the cut (back-off: 1 s at most)"


def one_way(program, seed):
    """From one machine to another nothing comes, while the other way works."""
    with Machines(program, seed, LIMITS) as herd:
        reporters = [Reporter(herd, name) for name in ("Hill", "Campbell")]
        for other in range(1, len(NAMES)):
            herd.order("cut", 0, other)
        until("nobody hears Hill", lambda: all(herd.peers(name).get("Hill") != "up"
                                               for name in NAMES[1:]))
        for other in range(1, len(NAMES)):
            herd.order("join", 0, other)
        return settle(herd, reporters)


def halves(program, seed):
    """The herd falls into two halves, again and again."""
    with Machines(program, seed, LIMITS) as herd:
        herd.everywhere("delay", 5, 3)
        reporters = [Reporter(herd, name) for name in NAMES]
        for order in ["cut", "join"] * 3:
            for name in ("Hill", "Jaquez"):
                herd.cut_off(name, ("Smith", "Campbell", "Singleton"), order)
            # Long enough for some links to be given up, too short for all.
            time.sleep(3)
        return settle(herd, reporters)


def rough(program, seed):
    """Many frames are lost, come twice and overtake each other; a server dies meanwhile."""
    with Machines(program, seed, LIMITS) as herd:
        herd.everywhere("delay", 10, 8)
        herd.everywhere("loss", 5)
        herd.everywhere("twice", 5)
        reporters = [Reporter(herd, name) for name in NAMES if name != "Singleton"]
        time.sleep(2)
        herd.kill("Singleton")
        time.sleep(2)
        herd.start("Singleton")
        assert herd.ready("Singleton"), "it has ended"
        return settle(herd, reporters)


def six(program, seed):
    """The same over IPv6: one machine is cut off and comes back."""
    with Machines(program, seed, LIMITS, net="fd99::") as herd:
        reporters = [Reporter(herd, name) for name in NAMES]
        herd.cut_off("Singleton")
        until("nobody believes in Singleton any more",
              lambda: "up" not in herd.peers("Singleton").values())
        herd.cut_off("Singleton", order="join")
        return settle(herd, reporters)


def moves(program, seed):
    """A machine gets another address under its old name, as one does that is replaced."""
    with Machines(program, seed, LIMITS, by_name=True) as herd:
        reporters = [Reporter(herd, name) for name in NAMES if name != "Smith"]
        herd.kill("Smith")
        herd.settle(NAMES.index("Smith"), "10.99.0.77")
        herd.tell_names()
        herd.start("Smith")
        assert herd.ready("Smith"), "it has ended"
        until("Smith is found", lambda: set(herd.peers("Smith").values()) == {"up"})
        return settle(herd, reporters)


def behind(program, seed):
    """A machine stands behind a router that passes ports on: its own address is another."""
    with Machines(program, seed, LIMITS) as herd:
        reporters = [Reporter(herd, name) for name in NAMES if name != "Smith"]
        herd.kill("Smith")
        herd.start("Smith", flags=["--bind", "127.0.0.1"])
        assert herd.ready("Smith"), "it has ended"
        router = Forwarder(herd, "Smith", [PORT, PORT + 100])
        until("Smith is found", lambda: set(herd.peers("Smith").values()) == {"up"}
              and herd.peers("Hill")["Smith"] == "up")
        told = settle(herd, reporters)
        router.close()
        return told


def elsewhere(program, seed):
    """One herd.toml for all, over IPv6: on one machine, the servers of the others are looked at."""
    sections = LIMITS + 'compare_every = "1 s"\nlame_duck_grace = "10 s"\n'
    with Machines(program, seed, sections, net="fd99::", operators=True) as herd:
        herd.everywhere("delay", 40)
        others = NAMES[1:]
        expected = {"Hill": "up"} | dict.fromkeys(others, "ready")
        until("all are ready", lambda: herd.seen_from("Hill") == (expected, 0))
        herd.kill("Campbell")
        herd.cut_off("Singleton")
        until("both are silent", lambda: herd.seen_from("Hill") == (
            expected | dict.fromkeys(["Campbell", "Singleton"], "silent"), 69))
        herd.ask("drain", "Jaquez", "--config", "herd.toml")
        until("Jaquez drains", lambda: herd.seen_from("Hill")[0]["Jaquez"] == "draining")
        told, code = herd.ask_from("Hill", "top", "--once", "--json")
        rows = {row["name"]: row for row in map(json.loads, told.splitlines())}
        states = {name: row["state"] for name, row in rows.items()}
        assert code == 69 and states == {"Hill": "ready", "Jaquez": "draining", "Smith": "ready",
                                         "Campbell": "silent", "Singleton": "silent"}, states
        # Nobody listens there; nothing comes from there; a rate over 40 ms is a rate.
        assert "nobody listens on [fd99::4]:12300" in rows["Campbell"]["why"], rows["Campbell"]
        assert "has not answered within 1s" in rows["Singleton"]["why"], rows["Singleton"]
        assert rows["Smith"]["sent_bytes_per_s"] is not None, rows["Smith"]
        return "ready, draining and silent ones are told apart"


def restarts(program, seed):
    """A server dies again and again while all others are told much, and comes back empty: it is ready
    soon, and never before it holds what its peers held when it started."""
    limits = f'{LIMITS}ready_alone_after = "off"\nnew_clients_at_once = {2 * MANY}\n'
    with Machines(program, seed, limits) as herd:
        herd.everywhere("delay", 10)
        filler = herd.connect("Hill")
        filler.fill(MANY)
        filler.close()
        herd.until_equal()
        reporters = [Reporter(herd, name) for name in NAMES if name != "Singleton"]
        waits = []
        for _ in range(RESTARTS):
            answered = {}
            for reporter in reporters:
                answered |= dict(reporter.client.answered)
            for peer in herd.peers("Singleton"):
                until(f"{peer} holds what was answered",
                      lambda peer=peer: not lacks(herd, peer, answered))
            herd.kill("Singleton")
            herd.start("Singleton")
            began = time.monotonic()
            now = until("Singleton is ready", lambda: is_ready(herd.measured("Singleton")))
            waits.append(time.monotonic() - began)
            assert now['herd_caught_up{how="even"}'] == 1, now
            assert now["herd_clients"] >= MANY + len(answered), "ready before all had come"
            lost = lacks(herd, "Singleton", answered)
            assert not lost, f"ready with older reports of {lost}"
        told = settle(herd, reporters)
        return (f"{RESTARTS} restarts with {MANY} clients, ready after p50 "
                f"{statistics.median(waits):.1f} s, at most {max(waits):.1f} s; {told}")


def lacks(herd, name, answered):
    """The clients of which a server holds less than was answered."""
    client = herd.connect(name)
    lost = [one for one, when in answered.items() if (client.knows(one) or 0) < when]
    client.close()
    return lost


def is_ready(figures):
    return figures if figures and figures["herd_ready"] == 1 else None


def alone(program, seed):
    """Four machines of five are away: first nothing comes from them, then their servers are dead. The
    fifth is ready all the time."""
    with Machines(program, seed, LIMITS) as herd:
        others = [name for name in NAMES if name != "Hill"]
        for name in NAMES:
            until(f"{name} is ready", lambda name=name: is_ready(herd.measured(name)))
        asked = 0

        def stays_ready(what, look):
            nonlocal asked

            def both():
                nonlocal asked
                asked += 1
                answer = herd.look_at("Hill", "/readyz")
                assert answer == (200, "ok\n"), answer
                return look()
            until(what, both)

        herd.cut_off("Hill")
        stays_ready("Hill has lost all peers", lambda: "up" not in herd.peers("Hill").values())
        end = time.monotonic() + 3
        stays_ready("some time has passed", lambda: time.monotonic() > end)
        for name in others:
            herd.kill(name)
        herd.cut_off("Hill", order="join")
        end = time.monotonic() + 3
        stays_ready("some time has passed", lambda: time.monotonic() > end)
        client = herd.connect("Hill")
        client.report("kiwi", 1)
        client.close()
        for name in others:
            herd.start(name)
            assert herd.ready(name), "it has ended"
        stays_ready("all are back", lambda: set(herd.peers("Hill").values()) == {"up"})
        herd.until_equal()
        return f"/readyz was asked {asked} times, and always 200"


def settle(herd, reporters):
    """Everybody stops, and all servers hold the same: what was answered."""
    answered = {}
    for reporter in reporters:
        answered |= reporter.stop()
    took = herd.until_equal()
    assert len(answered) >= 50, f"only {len(answered)} clients reported"
    for name in NAMES:
        lost = lacks(herd, name, answered)
        assert not lost, f"{name} does not hold what was answered: {lost}"
    return f"{len(answered)} clients, all equal {took:.1f} s after the last report"


PARTS = {part.__name__: part
         for part in (far_apart, split, one_way, halves, rough, six, moves, behind,
                                       elsewhere, restarts, alone)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", help="another program than the one that it would build")
    parser.add_argument("--seed", type=int, default=1, help="what the switch loses")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    flags = parser.parse_args()
    if unknown := set(flags.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}: see --help")
    if not flags.herd:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=ROOT, check=True)
    program = str(Path(flags.herd or ROOT / "target/release/herd").resolve())
    try:
        for name in flags.parts or PARTS:
            began = time.monotonic()
            told = PARTS[name](program, flags.seed)
            print(f"{name.replace('_', ' ')} ({time.monotonic() - began:.0f} s): {told}", flush=True)
    except Skipped as reason:
        print(f"\n==== SKIPPED: {reason}")


if __name__ == "__main__":
    sys.exit(main())
