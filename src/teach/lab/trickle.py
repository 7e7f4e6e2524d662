"""A service that trickles: our timeout comes, and the thread stays where it is."""

import asyncio
import os
import time
from decimal import Decimal

import herd_twin as twin

THREADS = min(32, os.cpu_count() + 4)  # Of the loop's executor.
TRICKLE_S = 1.5
twin.PLACES_S = 0.5
twin.log.setLevel("CRITICAL")
calls = 0


async def serve(reader, writer):
    global calls
    calls += 1
    await reader.readuntil(b"\r\n\r\n")
    body = b'{"status": "OK", "results": []}'
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    if calls <= THREADS:
        for at in range(int(TRICKLE_S / 0.1)):
            writer.write(body[at:at + 1])
            await asyncio.sleep(0.1)
    else:
        writer.write(body)
    writer.close()


class Counting(twin.Service):
    """Knows how many of its threads wait."""
    waiting = 0

    def call(self, at, metres):
        self.waiting += 1
        try:
            return super().call(at, metres)
        finally:
            self.waiting -= 1


async def ask(places):
    begun = time.perf_counter()
    answer = await places.near((1, 1), Decimal(1))
    return answer["status"], time.perf_counter() - begun


async def main():
    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = service.sockets[0].getsockname()
    places = Counting(f"http://{host}:{port}")
    first = await asyncio.gather(*(ask(places) for _ in range(THREADS)))
    busy = places.waiting
    status, took = await ask(places)
    await asyncio.sleep(TRICKLE_S)
    again, _ = await ask(places)
    timed_out = sum(status == "UNKNOWN_ERROR" for status, _ in first)
    print(f"of {THREADS} questions, given up in time", THREADS, timed_out, sep="\t")
    print("threads that still wait", 0, busy, sep="\t")
    print("the next question, to a good service", "OK, 1 ms", f"{status}, {took * 1000:.0f} ms",
          sep="\t")
    print("and when the trickle has ended", "OK", again, sep="\t")
    if status == "OK" or again != "OK":
        raise SystemExit("the threads came back with the timeout")


asyncio.run(main())
