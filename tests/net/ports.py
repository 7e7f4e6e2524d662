"""Ports of this machine that nobody has."""

import random
import socket

# What servers add to their client ports: for peers, the web, operators, MQTT.
OTHERS = (0, 100, 200, 300, 400)


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


def free_base(servers: int) -> int:
    """The first of so many client ports, all of whose others are free as well: none that a herd of
    the course has, a test in Rust or of `herd.sh`, or `free_ports`. All may run beside this."""
    while True:
        base = random.randrange(25_500, 29_500)
        try:
            for port in (base + at + more for at in range(servers) for more in OTHERS):
                socket.create_server(("127.0.0.1", port)).close()
            return base
        except OSError:
            continue
