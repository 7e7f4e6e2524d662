"""One pool for all that blocks: it is full, and names wait."""

import asyncio
import time
from decimal import Decimal

import herd_twin as twin

QUESTIONS = 60
twin.PLACES_S = 1
twin.log.setLevel("CRITICAL")


async def time_resolving():
    begun = time.perf_counter()
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    return time.perf_counter() - begun


async def main():
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()
    places = twin.Service(f"http://{host}:{port}")
    alone = await time_resolving()
    questions = [asyncio.create_task(places.near((1, 1), Decimal(1))) for _ in range(QUESTIONS)]
    await asyncio.sleep(0.1)
    beside = await time_resolving()
    await asyncio.gather(*questions)
    silent.close()
    print("to resolve `localhost`, alone", "1 ms", f"{alone * 1000:.1f} ms", sep="\t")
    print(f"beside {QUESTIONS} questions that hang", "1 ms", f"{beside * 1000:.0f} ms", sep="\t")
    if beside < 0.3:
        raise SystemExit("the name did not wait for the questions")


asyncio.run(main())
