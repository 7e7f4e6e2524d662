"""Two who each let the other speak first."""

import asyncio
import time


async def greet(reader, writer, speaks_first):
    if speaks_first:
        writer.write(b"HERD/1\n")
    heard = await reader.readline()
    if not speaks_first:
        writer.write(b"HERD/1\n")
    return heard


async def meet(one_first, deadline):
    """How two greetings end, and after which time."""
    accepted = asyncio.Queue()
    door = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
    one = await asyncio.open_connection(*door.sockets[0].getsockname())
    other = await accepted.get()
    begun = time.perf_counter()
    try:
        # Outside, how long we look on; inside, the deadlines of the two.
        async with asyncio.timeout(1):
            try:
                async with asyncio.timeout(deadline), asyncio.TaskGroup() as both:
                    both.create_task(greet(*one, one_first))
                    both.create_task(greet(*other, False))
                how = "greeted"
            except TimeoutError:
                how = "given up"
    except TimeoutError:
        how = "nothing"
    for _, writer in one, other:
        writer.close()
    door.close()
    return how, time.perf_counter() - begun


async def main():
    ends = []
    for what, expected, one_first, deadline in [
        ("both listen first", "greeted", False, None),
        ("both listen first, with a deadline", "greeted", False, 0.3),
        ("one speaks first", "greeted", True, None),
    ]:
        how, took = await meet(one_first, deadline)
        ends.append(how)
        print(what, expected, f"{how}, {took:.1f} s", sep="\t")
    if ends != ["nothing", "given up", "greeted"]:
        raise SystemExit("they did not wait for each other")


asyncio.run(main())
