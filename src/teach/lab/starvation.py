"""A coroutine that always finds work never yields."""

import asyncio
import time

FOR_S = 0.5
ticks = 0


async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.01)
        ticks += 1


async def listen(jobs, yields):
    """Takes a job and schedules itself again. The queue is never empty, so `get` never waits."""
    rounds, deadline = 0, time.monotonic() + FOR_S
    while time.monotonic() < deadline:
        jobs.put_nowait(await jobs.get())
        rounds += 1
        if yields:
            await asyncio.sleep(0)
    return rounds


async def count_ticks(yields):
    global ticks
    jobs = asyncio.Queue()
    jobs.put_nowait("a job")
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    ticks = 0
    await listen(jobs, yields)
    ticker.cancel()
    return ticks


async def main():
    starved, fed = await count_ticks(yields=False), await count_ticks(yields=True)
    print("ticks in 500 ms beside the listener", 50, starved, sep="\t")
    print("ticks if it yields each time", 50, fed, sep="\t")
    if starved or not fed:
        raise SystemExit("the listener let others run")


asyncio.run(main())
