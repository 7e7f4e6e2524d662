"""Ports of this machine that nobody has."""

import random
import socket


def free_ports(count: int) -> list[int]:
    """Below those that the system gives to connections that go out: who is dead for a while must
    find its own again."""
    found = []
    while len(found) < count:
        port = random.randrange(30000, 32768)
        if port in found:
            continue
        try:
            socket.create_server(("127.0.0.1", port)).close()
            found.append(port)
        except OSError:
            pass
    return found
