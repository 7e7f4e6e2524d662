#!/usr/bin/env python3
"""The herd's client port as an asyncio Protocol, on uvloop if there is one: callbacks, no coroutines.

All lines that came together are answered by one write. IAMAT and `? line` only. Left out: WHATSAT,
peers, limits, logs, back-pressure, exact skews (floats here).
"""

import asyncio
import re
import sys
import time

try:
    import uvloop
except ImportError:
    uvloop = asyncio

IAMAT = re.compile(
    rb"\s*IAMAT\s+(\S+)\s+([+-]\d+(?:\.\d+)?[+-]\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s*"
)

newest = {}


def answer(line):
    match = IAMAT.fullmatch(line)
    if not match:
        return b"? " + line.rstrip(b"\r") + b"\n"
    client, position, stamp = match.groups()
    sent = float(stamp)
    if client not in newest or newest[client][0] < sent:
        newest[client] = (sent, position, stamp)
    return b"AT Rival %+.9f %b %b %b\n" % (time.time() - sent, client, position, stamp)


class Client(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.rest = b""

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        if lines:
            self.transport.write(b"".join(map(answer, lines)))


async def main():
    loop = asyncio.get_running_loop()
    # As long a queue of new connections as the others have; 100 is the default.
    server = await loop.create_server(Client, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


uvloop.run(main())
