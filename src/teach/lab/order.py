"""A task for each line: who is fast overtakes."""

import asyncio

import herd_twin as twin

PAIRS = 1_000


class Hasty(twin.Server):
    async def serve(self, reader, writer):
        async with asyncio.TaskGroup() as tasks:
            async for line, _ in twin.lines(reader):
                tasks.create_task(self.reply(line, writer))
        writer.close()

    async def reply(self, line, writer):
        if line.startswith(b"IAMAT"):
            await asyncio.sleep(0)  # Say, to tell the neighbours first.
        await twin.send(writer, await self.answer(line))


class Nothing:
    async def near(self, at, radius_km):
        return {"results": [], "status": "ZERO_RESULTS"}


async def count_overtaken(make):
    server = make(b"Clark", [], Nothing())
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    wrong = 0
    for number in range(PAIRS):
        writer.write(b"IAMAT c%d +1+1 1\nWHATSAT c%d 1 1\n" % (number, number))
        lines = [await reader.readline()]
        if lines[0].startswith(b"?"):
            wrong += 1
            await reader.readline()  # The answer to IAMAT, late.
        else:
            await reader.readuntil(b"\n\n")  # The answer to WHATSAT.
    writer.close()
    listener.close()
    return wrong


async def main():
    calm, hasty = await count_overtaken(twin.Server), await count_overtaken(Hasty)
    print(f"{PAIRS} pairs: WHATSAT too early, one coroutine", 0, calm, sep="\t")
    print(f"{PAIRS} pairs: WHATSAT too early, a task a line", 0, hasty, sep="\t")
    if calm or not hasty:
        raise SystemExit("no WHATSAT has overtaken, or the wrong one")


asyncio.run(main())
