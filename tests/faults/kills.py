"""kill -9 of all five servers of a herd, again and again."""

import contextlib
import random
import time

from faults.herds import Herd, Talker, demand_all, lost, remember, until

KEEPS = "written", "synced"


def killed_together(program, rounds, seed):
    """Each server holds at once what it has answered, and soon what the others have."""
    told = []
    for at, keep in enumerate(KEEPS):
        with Herd(program, 5, keep) as herd:
            answered = {name: {} for name in herd.names}
            reports = sum(live_and_die(herd, life, answered)
                          for life in range((rounds + at) // len(KEEPS)))
            told.append(f"{keep}: {reports} reports answered in {life_count(rounds, at)} lives")
    return "; ".join(told) + "; none lost"


def life_count(rounds, at):
    return (rounds + at) // len(KEEPS)


def live_and_die(herd, life, answered):
    for name in random.sample(herd.names, 5):
        herd.start(name)
    for name, reports in answered.items():
        demand_all(herd.port(name), reports, f"life {life}, {name} and what it has answered")
    of_all = {client: told for reports in answered.values() for client, told in reports.items()}
    for name in herd.names:
        until(f"{name} knows what all have answered", lambda: not lost(herd.port(name), of_all))
    talkers = {name: Talker(herd.port(name), name, 1_000_000 * (life + 1))
               for name in herd.names}
    time.sleep(random.uniform(0.05, 0.4))
    for name in random.sample(herd.names, 5):
        herd.kill(name)
        time.sleep(random.choice((0, 0, 0.02)))
    for name, talker in talkers.items():
        remember(answered[name], [talker])
        for reports in answered[name].values():
            # The newest is the one to be held.
            del reports[:-1]
    assert not any(herd.is_damaged(name) for name in herd.names), "a death has damaged a journal"
    for name in herd.names:
        # It would become as long as all lives together.
        with contextlib.suppress(FileNotFoundError):
            (herd.folder / "log" / f"{name}.log").unlink()
    return sum(talker.heard for talker in talkers.values())
