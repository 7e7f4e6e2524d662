#!/usr/bin/env python3
"""What was answered is there after real faults: run it as `tests/real_faults.py`.

    tests/real_faults.py [--herd PROGRAM] [--rounds N] [--minutes N] [--seed N] [PART ...]

Goal: the table of `keep` (NOTES.md, chapter 22) holds for real processes on a real system:
processes that die at each write, disks that are full, slow or fail, machines that lose their power,
journals that are spoilt. Method: clients remember what they were answered, and it is compared with
what the servers hold after the fault. `--rounds` says how often a part is repeated; without it, it
is as often as a test may take. Journals are spoilt in other ways with another `--seed`. `attack`
does all of it to five servers at once, for `--minutes`; `others` does it to Redis and NATS as well,
for comparison.

Some parts need strace, or what only root may do. What this machine cannot do is skipped, and said
so in capitals. That the same holds for disks that lie, the simulator shows.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.dont_write_bytecode = True
from faults import attack, busy, damage, full, kills, others, power, tracing  # noqa: E402
from faults.herds import Skipped  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SIDE_BY_SIDE = 3
# Of each part: what it does, and its rounds in CI; of an attack, its minutes.
# The longest come first.
PARTS = {
    "attack": (attack.attack, 0.5),
    "power": (power.power_cuts, 16),
    "stalls": (tracing.stalls, 1),
    "kills": (kills.killed_together, 20),
    "busy": (busy.busy, 4),
    "calls": (tracing.killed_at_calls, 6),
    "full": (full.full, 1),
    "damage": (damage.spoilt, 300),
    "others": (others.compare, 3),
    "failing": (tracing.failing, 1),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", help="another program than the one that it would build")
    parser.add_argument("--rounds", type=int, help="how often a part is repeated")
    parser.add_argument("--minutes", type=float, help="how long the attack lasts")
    parser.add_argument("--seed", type=int, default=0, help="of the first journal that is spoilt")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    # What this script adds to its own words.
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if unknown := set(flags.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}: see --help")
    if not flags.herd and not flags.apart:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=ROOT, check=True)
    if not flags.apart:
        go_apart()
    program = str(Path(flags.herd or ROOT / "target/release/herd").resolve())
    # Most of them wait most of the time.
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        jobs = [pool.submit(run, name, program, flags) for name in flags.parts or PARTS]
        for job in as_completed(jobs):
            try:
                print(job.result(), flush=True)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def go_apart():
    """Goes on where mounts are of this process alone, and end with it; if that cannot be had, what
    has to mount says so itself."""
    kind = "-m" if os.geteuid() == 0 else "-Urm"
    tried = ["unshare", kind, "true"]
    if shutil.which("unshare") and subprocess.run(tried, capture_output=True).returncode == 0:
        os.execvp("unshare", ["unshare", kind, sys.executable, *sys.argv, "--apart"])


def run(name, program, flags):
    part, usual = PARTS[name]
    began = time.monotonic()
    try:
        wanted = flags.minutes if name == "attack" else flags.rounds
        told = part(program, wanted or usual, flags.seed)
    except Skipped as reason:
        return f"\n==== SKIPPED: {reason}"
    except BaseException as error:
        error.add_note(f"this was the part {name}")
        raise
    return f"{name} ({time.monotonic() - began:.0f} s): {told}"


if __name__ == "__main__":
    sys.exit(main())
