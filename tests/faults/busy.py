"""Busy servers, whose journals are written over their own old files, and that are killed.

Their clients send more than is read line by line here: what was answered is known from the number of
answers alone, for each connection's clients report in turn, each time a second later.
"""

import contextlib
import random
import threading
import time

from faults.herds import TIMEOUT_S, Herd, Skipped, connect, until
from faults.power import herd_on_a_disk

KEEPS = "written", "synced"
# Long names make a journal busy on any machine.
CLIENTS, ID_BYTES = 300, 1000
# Some 60 bytes more than an id each. A journal of these clients is first written anew at 38 MB.
ANSWERS_MIN, ANSWERS_MORE = 60_000, 60_000
# Lines that were sent and not answered, at most.
AHEAD = 2_000
BUSY = 3


class Blaster:
    """Reports of clients of its own, as many as a server takes, until it is hung up on."""

    def __init__(self, port, number, first_time):
        self.first_time = first_time
        self.ids = [f"{number}-{client}-".ljust(ID_BYTES, "x") for client in range(CLIENTS)]
        lines = [f"IAMAT {client} +34.068930-118.445127 TIME\n" for client in self.ids]
        self.text = "".join(lines).encode()
        self.sent = self.answers = 0
        self.connection = connect(port)
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        with contextlib.suppress(OSError):
            for at in range(1_000_000):
                self.connection.sendall(self.text.replace(b"TIME", b"%d" % (self.first_time + at)))
                self.sent += CLIENTS
                while self.sent - self.answers > AHEAD and self.threads[1].is_alive():
                    time.sleep(0.001)

    def receive(self):
        with contextlib.suppress(OSError):
            while piece := self.connection.recv(1 << 20):
                self.answers += piece.count(b"\n")

    def answered(self):
        """The time of the newest report of each client that was answered, once it is hung up on."""
        for thread in self.threads:
            thread.join(TIMEOUT_S)
        self.connection.close()
        rounds, more = divmod(self.answers, CLIENTS)
        newest = {client: self.first_time + rounds - (at >= more)
                  for at, client in enumerate(self.ids)}
        return {client: time for client, time in newest.items() if time >= self.first_time}


def busy(program, rounds, seed):
    """All that was answered is there, and no file is said to be damaged: of a process that is
    killed, and of a machine whose power is cut, if its answers wait for the disk."""
    told = []
    for keep in KEEPS:
        with Herd(program, keep=keep) as herd:
            told.append(live_on(herd, keep, (rounds + 1) // 2, "kills", herd.kill))
    try:
        for keep in KEEPS:
            told.append(cut(program, keep, rounds // 2))
    except Skipped as reason:
        told.append(f"SKIPPED: {reason}")
    return "; ".join(told)


def cut(program, keep, rounds):
    with herd_on_a_disk(program, keep) as (herd, disk):
        def end():
            disk.cut()
            herd.kill()
            disk.unmount()
            disk.mount()
        return live_on(herd, keep, rounds, "cuts", end)


def live_on(herd, keep, rounds, what, end):
    answers, over = 0, set()
    for life in range(rounds):
        herd.start()
        assert herd.ready(), "it does not start"
        blasters = [Blaster(herd.port("Hill"), number, 1_000_000 * (life + 1))
                    for number in range(BUSY)]
        wanted = ANSWERS_MIN + random.randrange(ANSWERS_MORE)

        def is_enough():
            over.update(written_over(herd))
            return over and sum(it.answers for it in blasters) >= wanted
        until("it has answered, and written over old files", is_enough, 300)
        end()
        answered = {}
        for blaster in blasters:
            answers += blaster.answers
            answered |= blaster.answered()
        checked = herd.ask("journal", "check", str(herd.place()))
        assert checked.returncode == 0, f"{keep}, {what}: {checked.stdout} {checked.stderr}"
        if (keep, what) == ("written", "cuts"):
            continue
        dump = herd.ask("journal", "dump", str(herd.place()))
        lines = [line.split() for line in dump.stdout.splitlines()]
        known = {client: int(time) for _, _, _, client, _, time in lines}
        lost = [client for client, time in answered.items() if known.get(client, -1) < time]
        assert not lost, f"{keep}, {what}: {len(lost)} of {len(answered)} reports are lost"
    return f"{keep}: {rounds} {what}, {answers} reports answered, {len(over)} segments seen that " \
        "were written over old ones"


def written_over(herd):
    """Segments that are, now."""
    for path in herd.segments():
        # It may be removed at any time.
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as segment:
            if b" over=" in segment.read(256):
                yield path.name
