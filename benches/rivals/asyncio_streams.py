#!/usr/bin/env python3
"""The herd's client port in asyncio streams, as the course teaches it: one coroutine a connection.

Each line is answered by a write of its own, and drained: a coroutine reads line by line, and does
not know whether more have come. Who gathers answers has left streams for the Protocol. IAMAT and
`? line` only. Left out: WHATSAT, peers, limits, logs, exact skews (floats here).
"""

import asyncio
import re
import sys
import time

IAMAT = re.compile(
    rb"\s*IAMAT\s+(\S+)\s+([+-]\d+(?:\.\d+)?[+-]\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s*"
)

newest = {}


def answer(line):
    match = IAMAT.fullmatch(line)
    if not match:
        return b"? " + line.rstrip(b"\r\n") + b"\n"
    client, position, stamp = match.groups()
    sent = float(stamp)
    if client not in newest or newest[client][0] < sent:
        newest[client] = (sent, position, stamp)
    return b"AT Rival %+.9f %b %b %b\n" % (time.time() - sent, client, position, stamp)


async def serve(reader, writer):
    try:
        while line := await reader.readline():
            writer.write(answer(line))
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    # As long a queue of new connections as the others have; 100 is the default.
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


asyncio.run(main())
