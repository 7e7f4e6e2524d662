"""Calls that fail, wait or kill: parts that need strace.

`-P` has strace look only at the files of the next life, whose names are known beforehand. It counts
the calls of each thread for itself: of `when=N`, N is the thread's N-th call to one of these files.
"""

import re
import shutil
import subprocess
import time
import urllib.request

from faults.herds import TIMEOUT_S, Herd, Skipped, Talker, demand_all, remember, until

KEEPS = "written", "synced"
# Calls of write(2) by the thread that makes a segment for `synced`: the header, and zeros. Reports
# are written to a place, with pwrite(2).
FILLING = 257
STALL_S = 3
# An answer that takes longer has waited for a stall.
QUICK_S = 2.5


def demand_strace():
    if not shutil.which("strace"):
        raise Skipped("calls do not fail, wait or kill: strace is missing")
    tried = subprocess.run(["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "true"],
                           capture_output=True, text=True)
    if tried.returncode != 0:
        raise Skipped(f"calls do not fail, wait or kill: {tried.stderr.strip().splitlines()[0]}")


def traced(herd, fault, *flags):
    """The words before a command that make its calls to the next files fail."""
    words = ["strace", "-f", "-qq", "-y", *flags, "-o", str(herd.folder / "strace.out"),
             "-e", "trace=openat,write,pwrite64,fdatasync", "-e", f"inject={fault}"]
    for path in herd.next_segments(count=4):
        words += ["-P", str(path)]
    return words


def calls(herd):
    """Each call that was traced: its name, its file and its result."""
    text = (herd.folder / "strace.out").read_text()
    # What another thread interrupts is written in two lines.
    begun, found = {}, []
    for line in text.splitlines():
        thread, said = line.split(maxsplit=1)
        if said.endswith("<unfinished ...>"):
            begun[thread] = said.removesuffix("<unfinished ...>")
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", said):
            said = begun.pop(thread) + said[resumed.end():]
        # A file is named by its descriptor, or by what is opened, behind a folder's descriptor.
        if call := re.match(r"(\w+)\((?:\d+<|.*?\")(/[^>\"]*)[>\"].*\) += (-?\d+|\?)(.*)", said):
            found.append(call.groups())
    return found


# ---- kill -9 at the n-th write ----

def killed_at_calls(program, rounds, seed):
    """What was answered is there, whichever call of the journal was the last."""
    demand_strace()
    deaths = reports = 0
    for keep, call, most in [("written", "pwrite64", rounds), ("synced", "fdatasync", rounds),
                             ("synced", "pwrite64", rounds), ("synced", "write", FILLING)]:
        with Herd(program, keep=keep) as herd:
            herd.first_life()
            answered = {}
            for n in range(1, 1 + min(rounds, most)):
                reports += die_at(herd, call, n, answered)
                herd.start()
                assert herd.ready(), "it does not start again"
                assert not herd.is_damaged(), "a death has damaged the journal"
                demand_all(herd.port("Hill"), answered, f"{keep}, killed at {call} {n}")
                herd.kill()
                deaths += 1
    return f"{deaths} deaths, {reports} reports answered, none lost"


def die_at(herd, call, n, answered):
    """One life under load. Says how many reports were answered."""
    # A signal is not delivered where a filter stops a call: all calls are stopped.
    herd.start(before=traced(herd, f"{call}:signal=KILL:when={n}"))
    # It may die before anybody is there.
    talkers = [Talker(herd.port("Hill"), number, 1_000_000 * n, pipeline)
               for number, pipeline in enumerate((1, 4, 16))] if herd.ready() else []
    herd.running["Hill"].wait(TIMEOUT_S)
    del herd.running["Hill"]
    remember(answered, talkers)
    return sum(talker.heard for talker in talkers)


# ---- a disk that fails ----

def failing(program, rounds, seed):
    """EIO from write(2) or fdatasync(2): nobody is hung up on, and nothing is lost."""
    demand_strace()
    cases = [("written", "pwrite64", 9), ("written", "fdatasync", 2),
             ("synced", "pwrite64", 9), ("synced", "fdatasync", 9)]
    return "; ".join(fail_once(program, *case) for case in cases)


def fail_once(program, keep, call, n):
    with Herd(program, keep=keep) as herd:
        herd.first_life()
        herd.start(before=traced(herd, f"{call}:error=EIO:when={n}", "--seccomp-bpf"))
        assert herd.ready(), "it has ended"
        talkers = [Talker(herd.port("Hill"), number, 1_000, 4, pause=0.01) for number in range(4)]
        until("the failure is told", lambda: "journal failed error=" in herd.log())
        before = [talker.heard for talker in talkers]
        until("answers leave again", lambda: all(
            talker.heard > heard + 40 for talker, heard in zip(talkers, before)))
        until("all is well again", lambda: herd.journal()["state"] == "well")
        for talker in talkers:
            talker.stop()
        answered = {}
        remember(answered, talkers)
        herd.kill()
        failed = demand_left_alone(calls(herd), call)
        herd.start()
        assert herd.ready(), "it does not start again"
        demand_all(herd.port("Hill"), answered, f"{keep}, {call} has failed")
        return f"{keep}: {failed} x EIO from {call}, then a file that is left alone"


def demand_left_alone(found, call):
    """A file that a call has failed for is never synced again, nor written to if it was a write.

    While a sync fails, another thread may be writing to the file: that write counts for nothing.
    """
    given_up = {}
    for name, path, result, why in found:
        if name == "openat":
            # One that could not be begun is removed, and made once more.
            given_up.pop(path, None)
            continue
        is_late = name == "pwrite64" and given_up.get(path) == "fdatasync"
        assert path not in given_up or is_late, f"{name} after {given_up[path]} failed: {path}"
        if result == "-1":
            assert "EIO" in why, why
            given_up[path] = name
    assert call in given_up.values(), f"{call} has never failed"
    return len(given_up)


# ---- a disk that is slow ----

def stalls(program, rounds, seed):
    """Each sync takes 3 s. Answers wait for theirs; the server, its links and its status do not."""
    demand_strace()
    told = []
    for keep in KEEPS:
        with Herd(program, 2, keep) as herd:
            herd.first_life()
            herd.start(before=traced(
                herd, f"fdatasync:delay_enter={STALL_S}s", "--seccomp-bpf"))
            herd.start("Jaquez")
            assert herd.ready("Hill") and herd.ready("Jaquez"), "a server has ended"
            until("they are joined", lambda: linked(herd))
            talkers = [Talker(herd.port("Hill"), number, 1_000, 4, pause=0.01)
                       for number in range(3)]
            slowest, end = 0.0, time.monotonic() + 2 * STALL_S
            while time.monotonic() < end:
                began = time.monotonic()
                assert linked(herd), "a link was lost"
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.05)
            for talker in talkers:
                talker.stop()
            waited = max(talker.longest_wait for talker in talkers)
            turns = long_turns(herd)
            assert slowest < QUICK_S, f"status took {slowest:.1f} s"
            assert (waited > QUICK_S) == (keep == "synced"), f"{keep}: answers took {waited:.1f} s"
            answered = {}
            remember(answered, talkers)
            herd.kill()
            herd.start()
            assert herd.ready(), "it does not start again"
            demand_all(herd.port("Hill"), answered, f"{keep}, syncs of {STALL_S} s")
            told.append(f"{keep}: status within {slowest * 1000:.0f} ms, "
                        f"answers within {waited:.1f} s, {turns}")
    return "; ".join([*told, slow_writes(program)])


def long_turns(herd):
    """How many turns of the loop were long. On a busy machine, some are that do nothing."""
    url = f"http://127.0.0.1:{herd.port('Hill') + 300}/metrics"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        text = answer.read().decode()
    bucket = r'^herd_loop_turn_duration_seconds_bucket{le="(.*)"} (\d+)'
    within = dict(re.findall(bucket, text, re.M))
    above = {bound: int(within["+Inf"]) - int(within[bound]) for bound in ("0.003", "0.01")}
    return f"of {within['+Inf']} turns {above['0.003']} above 3 ms, {above['0.01']} above 10 ms"


def slow_writes(program):
    """Each write takes 3 s. The loop, which writes itself, is stopped once and then leaves it to
    a thread."""
    with Herd(program) as herd:
        herd.first_life()
        herd.start(before=traced(herd, f"pwrite64:delay_enter={STALL_S}s:when=9+", "--seccomp-bpf"))
        assert herd.ready(), "it has ended"
        talkers = [Talker(herd.port("Hill"), number, 1_000, 4, pause=0.01) for number in range(3)]
        stops, end = 0, time.monotonic() + 4 * STALL_S
        while time.monotonic() < end:
            began = time.monotonic()
            is_told = herd.status() is not None
            stops += not is_told or time.monotonic() - began > STALL_S / 4
            time.sleep(0.02)
        for talker in talkers:
            talker.stop()
        waited = max(talker.longest_wait for talker in talkers)
        # The one stop may be met by two questions, if the first gives up.
        assert waited > QUICK_S and stops <= 2, f"stopped {stops} times, waited {waited:.1f} s"
        return f"writes of {STALL_S} s: the loop was stopped once, answers within {waited:.1f} s"


def linked(herd):
    return all(peer["state"] == "up" for peer in herd.status()["peers"])
