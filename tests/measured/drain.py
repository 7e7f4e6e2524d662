"""How evenly a lame duck lets its clients go."""

import select
import socket
import time

from faults.herds import TIMEOUT_S

from .common import Measured, counted, first_in_line, verdict

CLIENTS = 1_000
DUCK_S = 10


def drain(program, seconds):
    """Clients that report once and wait; each comes back at once when it is let go of."""
    sections = f'[limits]\nlame_duck = "{DUCK_S} s"\n'
    with Measured(program, 1, sections=sections) as herd, first_in_line():
        poll, clients = select.epoll(), {}
        for number in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", herd.port("Hill")), TIMEOUT_S)
            client.sendall(b"IAMAT kiwi-%d +1-1 1\n" % number)
            assert client.recv(4096).startswith(b"AT ")
            poll.register(client, select.EPOLLIN)
            clients[client.fileno()] = client
        told = herd.ask("drain", "Hill", "--config", "herd.toml")
        assert told.returncode == 0, told.stderr
        ends, broken, end = [], 0, time.monotonic() + TIMEOUT_S
        while clients and time.monotonic() < end:
            for number, _ in poll.poll(1):
                client = clients.pop(number)
                ends.append(time.monotonic())
                try:
                    broken += client.recv(4096) != b""
                except OSError:
                    broken += 1
                client.close()
        poll.close()
        lost = broken + len(clients)
        most = max(sum(first <= it < first + 1 for it in ends) for first in ends)
        even = most * DUCK_S / CLIENTS
        yield (f"{CLIENTS:,} clients leave in {DUCK_S} s: most in any second, beside an even spread",
               f"{even:.2f}{verdict(even, 1.2)}", "1.2")
        yield "ends that were none, or none", f"{lost}{counted(lost, 0)}", "0"
