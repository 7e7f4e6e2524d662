"""Disks that take no more: parts that mount a file system of their own."""

import contextlib
import subprocess
import time

from faults.herds import TIMEOUT_S, Herd, Skipped, Talker, demand_all, remember, until

# Lengths that no frame ends at: the last write of a file is one in part.
FILE_BYTES = 100_001
# For as long as a disk takes nothing, a status must come within this.
QUICK_S = 2.5


def mount(*words):
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skipped(f"no disk was full, for none can be mounted: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(herd, options):
    herd.journals.mkdir()
    mount("-t", "tmpfs", "-o", options, "tmpfs", herd.journals)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", herd.journals], check=True)


def full(program, rounds, seed):
    """Where there is no room, no inode or no right to write, answers wait until there is."""
    cases = [("no room", "size=1m", None, no_fault, more("size=64m")),
             ("no inode", "size=64m,nr_inodes=5", FILE_BYTES, no_fault, more("nr_inodes=99")),
             ("read-only", "size=64m", FILE_BYTES, read_only, writable)]
    told = [fill_up(program, *case) for case in cases]
    told.append(refuse_to_start(program))
    return "; ".join(told)


def no_fault(herd):
    pass


def more(option):
    # The options that it has name users, which a name space of ours may not.
    return lambda herd: mount("--options-mode", "ignore", "-o", f"remount,{option}", "tmpfs",
                              herd.journals)


def read_only(herd):
    # Files that are open stay writable, and new ones cannot be made.
    mount("--bind", herd.place(), herd.place())
    mount("-o", "remount,bind,ro", herd.place())


def writable(herd):
    subprocess.run(["umount", herd.place()], check=True)


def fill_up(program, what, options, file_bytes, spoil, mend):
    with Herd(program) as herd, small_disk(herd, options):
        herd.start(file_bytes=file_bytes)
        assert herd.ready(), "it has ended"
        spoil(herd)
        talkers = [Talker(herd.port("Hill"), number, 1_000) for number in range(3)]
        until("nothing is taken", lambda: herd.journal()["state"] == "refused")
        until("it is told", lambda: "journal refused error=" in herd.log())
        assert herd.journal()["trouble"], "the status does not say why"
        before = sum(talker.heard - talker.refused for talker in talkers)
        slowest, end = 0.0, time.monotonic() + 1
        while time.monotonic() < end:
            began = time.monotonic()
            assert herd.status(), "it does not answer its operator"
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < QUICK_S, f"status took {slowest:.1f} s"
        after = sum(talker.heard - talker.refused for talker in talkers)
        assert after == before, "something was answered that is nowhere written"
        mend(herd)
        until("it goes on", lambda: "journal goes on" in herd.log())
        until("all is well again", lambda: herd.journal()["state"] == "well")
        until("answers leave again", lambda: all(
            any(reports[-1][1] > end for reports in list(talker.answered.values()))
            for talker in talkers))
        for talker in talkers:
            talker.stop()
        answered = {}
        remember(answered, talkers)
        herd.kill()
        herd.start()
        assert herd.ready(), "it does not start again"
        assert not herd.is_damaged(), "a full disk has damaged the journal"
        demand_all(herd.port("Hill"), answered, what)
        refused = sum(talker.refused for talker in talkers)
        return f"{what}: {before} reports answered before, {after - before} meanwhile, " \
            f"{sum(talker.heard for talker in talkers) - after - refused} after; status within " \
            f"{slowest * 1000:.0f} ms"


def refuse_to_start(program):
    """A disk that has no room for a segment is told before anybody is accepted."""
    with Herd(program, keep="synced") as herd, small_disk(herd, "size=5m"):
        herd.start()
        code = herd.running["Hill"].wait(TIMEOUT_S)
        del herd.running["Hill"]
        said = (herd.folder / "Hill.err").read_text()
        assert code == 73 and "No space left" in said and "--keep off" in said, (code, said)
        return "no room at the start: exit code 73"
