"""A switch of one process: five cables, and what happens on them is chosen and repeatable.

Each machine is a network namespace whose only card is a TAP; the other end of each TAP is here. A
frame is read, the machine that it goes to is read from its address, and it is written after the
delay of that pair, or dropped, or written twice. TCP above it is the system's own, with all its
retransmissions. The kernel of a test machine often lacks netem, which does the same.

Commands come on standard input, one a line; each is answered by a line, `ok`:

    delay A B MS [JITTER]   from A to B and back: one way takes MS, give or take JITTER
    loss A B PERCENT        so many frames are lost, both ways
    twice A B PERCENT       so many frames come twice, both ways
    cut A B                 from A to B nothing comes any more; the other way goes on
    join A B                and now it does
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

# From <linux/if_tun.h>: bare frames, without the header that says of which protocol they are.
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME_BYTES_MAX = 2048
# Frames that wait for their time. More than so many are dropped, as a switch does.
WAITING_MAX = 20_000


def hardware_address(machine):
    """Of the card of a machine; its last byte says which machine that is."""
    return f"02:00:00:00:00:{machine:02x}"


class Path:
    """What happens on the way from one machine to another."""

    def __init__(self):
        self.delay = 0.0
        self.jitter = 0.0
        self.loss = 0.0
        self.twice = 0.0
        self.is_cut = False


class Switch:
    def __init__(self, namespaces, seed):
        self.random = random.Random(seed)
        self.taps = [open_tap(namespace, at) for at, namespace in enumerate(namespaces)]
        machines = range(len(namespaces))
        self.paths = {(a, b): Path() for a in machines for b in machines if a != b}
        # (when, in which order, to whom, what); frames of one path keep their order without jitter.
        self.waiting = []
        self.sent = 0

    def run(self):
        """Until standard input ends."""
        poll = select.poll()
        for fd in [*self.taps, 0]:
            poll.register(fd, select.POLLIN)
        commands = b""
        while True:
            until = self.waiting[0][0] - time.monotonic() if self.waiting else 1.0
            for fd, _ in poll.poll(max(0.0, until * 1000)):
                if fd == 0:
                    piece = os.read(0, 4096)
                    if not piece:
                        return
                    *lines, commands = (commands + piece).split(b"\n")
                    for line in lines:
                        print(self.obey(line.decode().split()), flush=True)
                else:
                    self.read(self.taps.index(fd))
            self.write_due()

    def read(self, source):
        while True:
            try:
                frame = os.read(self.taps[source], FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            # A frame for everybody asks who has an address.
            is_for_all = frame[0] & 1
            for target in range(len(self.taps)):
                if target != source and (is_for_all or frame[5] == target):
                    self.carry(source, target, frame)

    def carry(self, source, target, frame):
        path = self.paths[source, target]
        if path.is_cut or self.random.uniform(0, 100) < path.loss:
            return
        times = 2 if self.random.uniform(0, 100) < path.twice else 1
        for _ in range(times if len(self.waiting) < WAITING_MAX else 0):
            jitter = self.random.uniform(-path.jitter, path.jitter)
            due = time.monotonic() + max(0.0, path.delay + jitter)
            self.sent += 1
            heapq.heappush(self.waiting, (due, self.sent, target, frame))

    def write_due(self):
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(self.waiting)
            try:
                os.write(self.taps[target], frame)
            except OSError:
                pass  # A card that is down or full loses frames, as cards do.

    def obey(self, words):
        name, a, b, *numbers = words
        there, back = self.paths[int(a), int(b)], self.paths[int(b), int(a)]
        match name, [float(number) for number in numbers]:
            case "delay", [delay, *jitter]:
                for path in there, back:
                    path.delay, path.jitter = delay / 1000, sum(jitter) / 1000
            case "loss", [percent]:
                there.loss = back.loss = percent
            case "twice", [percent]:
                there.twice = back.twice = percent
            case "cut", []:
                there.is_cut = True
            case "join", []:
                there.is_cut = False
            case _:
                return f"unknown: {' '.join(words)}"
        return "ok"


def open_tap(namespace, machine):
    """The near end of a machine's only card, which is `card` in the namespace of that machine."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    name = f"herd{os.getpid() % 100_000}t{machine}"
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    ip("link", "set", name, "netns", namespace)
    inside = ["-n", namespace]
    ip(*inside, "link", "set", name, "name", "card", "address", hardware_address(machine))
    return fd


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    switch = Switch(sys.argv[2:], int(sys.argv[1]))
    print("ok", flush=True)
    switch.run()
