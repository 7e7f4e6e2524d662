"""Power that is cut: a journal on a file system of its own, which is shut down under load.

The file system is ext4 on a loop device. A shutdown of it (the ioctl that its own tests use) is a
cut: from that moment on, no block of it is written, and what was not written is gone. When it is
mounted again, ext4 replays its log, as it does after a cut. To copy the file of the device while it
is written to would not be the same: the blocks of such a copy are of different moments.
"""

import contextlib
import fcntl
import os
import random
import shutil
import struct
import subprocess
import time

from faults.herds import Herd, Skipped, Talker, held, lost, remember

KEEPS = "written", "synced"
IMAGE_BYTES = 1 << 30
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
# How exactly a server knows since when something is not on the disk, and a turn of its loop.
NOTED_S = 0.25


class Disk:
    """A file system in a file."""

    def __init__(self, folder):
        self.image, self.place = folder / "image", folder / "disk"
        if not shutil.which("mkfs.ext4"):
            raise Skipped("no power was cut: mkfs.ext4 is missing")
        self.place.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        self.mount()

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop", self.image, self.place],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Skipped("no power was cut, which needs root and a loop device: "
                          f"{done.stderr.strip()}")

    def cut(self):
        place = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(place, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(place)

    def unmount(self):
        subprocess.run(["umount", self.place], check=True)

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.unmount()


@contextlib.contextmanager
def herd_on_a_disk(program, keep):
    """A herd whose journals are on a disk that can be cut off, and that disk."""
    with Herd(program, keep=keep) as herd, contextlib.ExitStack() as stack:
        disk = Disk(herd.folder)
        stack.callback(disk.close)
        herd.journals = disk.place / "journal"
        herd.configure(keep)
        # Before the disk is unmounted, nobody may use it.
        stack.callback(lambda: [herd.kill(name) for name in list(herd.running)])
        yield herd, disk


def power_cuts(program, rounds, seed):
    """`synced` loses nothing; `written` nothing that is older than what the status has told."""
    told = []
    for at, keep in enumerate(KEEPS):
        with herd_on_a_disk(program, keep) as (herd, disk):
            cuts = (rounds + at) // len(KEEPS)
            found = Found()
            for cut in range(cuts):
                live_until_the_cut(herd, disk, cut, found)
            told.append(f"{keep}: {cuts} cuts, {found}")
    return "; ".join(told)


class Found:
    """What the cuts of one policy have cost."""

    def __init__(self):
        self.known, self.reports, self.lost, self.cuts_with_loss = {}, 0, 0, 0
        self.oldest_s = self.unsynced_s = 0.0

    def __str__(self):
        return f"{self.reports} reports answered, {self.lost} lost in {self.cuts_with_loss} cuts, "\
            f"the oldest {self.oldest_s:.2f} s before its cut; unsynced_ms at most " \
            f"{self.unsynced_s * 1000:.0f}"


def live_until_the_cut(herd, disk, cut, found):
    herd.start()
    assert herd.ready(), "it does not start"
    talkers = [Talker(herd.port("Hill"), number, 1_000_000 * (cut + 1), pause=0.001)
               for number in range(3)]
    time.sleep(random.uniform(0.1, 2.5))
    asked = time.monotonic()
    journal = herd.journal()
    disk.cut()
    was_cut = time.monotonic()
    # Whatever is answered now is answered, too.
    time.sleep(random.choice((0, 0.05)))
    herd.kill()
    answered = {client: [(time, 0)] for client, time in found.known.items()}
    remember(answered, talkers)
    disk.unmount()
    disk.mount()
    herd.start()
    assert herd.ready(), "it does not start again"
    missing = lost(herd.port("Hill"), answered)
    found.known = held(herd.port("Hill"), answered)
    herd.kill()
    unsynced = journal["unsynced_ms"] / 1000
    found.reports += sum(talker.heard for talker in talkers)
    found.unsynced_s = max(found.unsynced_s, unsynced)
    if missing:
        found.lost += len(missing)
        found.cuts_with_loss += 1
        found.oldest_s = max(found.oldest_s, was_cut - min(missing))
        assert journal["keep"] != "synced", f"{len(missing)} reports are lost that were synced"
        early = asked - unsynced - NOTED_S - min(missing)
        assert early <= 0, f"something is lost {early:.2f} s too old, of {unsynced:.2f} s"
