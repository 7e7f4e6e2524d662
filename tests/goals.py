#!/usr/bin/env python3
"""What a server costs, beside what it may cost: run it as `tests/goals.py`.

    tests/goals.py [--herd PROGRAM] [--seconds S] [--alone] [GOAL ...]

Each goal starts servers of its own on loopback, loads them with `herd bench`, and gives rows of a
table: what was measured, the figure, the goal. On a busy machine times mean little, so they fail
nobody, and where it can be, a figure is a ratio of two that were taken in turns. With `--alone`, all
else on the machine waits for what is measured. A count that is too high is a fault, and so is an
answer that is wrong: then the exit code is 1.

It needs a release build and Python; `tls` and `handshakes` need openssl, `metrics` needs valgrind and
a program with line tables (`cargo build --profile profiling`). What lacks is skipped, in words.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from faults.herds import Skipped
from measured import common, drain, instructions, restart, scrape, soak, tls

ROOT = Path(__file__).resolve().parent.parent
GOALS = {
    "metrics": instructions.metrics,
    "saturated": scrape.saturated,
    "scrape": scrape.scrape,
    "restart": restart.restart,
    "drain": drain.drain,
    "handshakes": tls.handshakes,
    "tls": tls.offers,
    "soak": soak.soak,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", help="another program than the one that it would build")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (20)")
    parser.add_argument("--alone", action="store_true", help="let all others wait: needs root, chrt")
    parser.add_argument("goals", nargs="*", metavar="GOAL", help=", ".join(GOALS))
    flags = parser.parse_args()
    if unknown := set(flags.goals) - set(GOALS):
        parser.error(f"there is no goal {', '.join(unknown)}: see --help")
    if flags.alone:
        common.take_the_processors()
    if not flags.herd:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=ROOT, check=True)
    program = str(Path(flags.herd or ROOT / "target/release/herd").resolve())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("| goal | what | figure | at most |\n|---|---|---|---|", flush=True)
    for name in flags.goals or GOALS:
        began = time.monotonic()
        try:
            for what, figure, goal in GOALS[name](program, flags.seconds):
                print(f"| {name} | {what} | {figure} | {goal} |", flush=True)
        except Skipped as reason:
            print(f"\n==== SKIPPED: {reason}", flush=True)
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 1 if common.WRONG else 0


if __name__ == "__main__":
    sys.exit(main())
