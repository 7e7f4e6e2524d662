"""One follower reads nothing, and one reads all. What waits for the one, and what the other hears."""

import asyncio
import socket

CLIENTS, CHANGES, BOUND = 100, 20_000, 100


class Unbounded:
    """A queue for each follower, as most examples have it."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def tell(self, client, text):
        self.queue.put_nowait(text)

    async def next(self):
        return await self.queue.get()

    def waiting(self):
        return self.queue.qsize()


class Bounded(Unbounded):
    """The same with a bound: who tells waits for who reads."""

    def __init__(self):
        self.queue = asyncio.Queue(BOUND)

    async def tell(self, client, text):
        await self.queue.put(text)


class Newest:
    """Of each client what was told last: it is put together when there is room."""

    def __init__(self):
        self.changed, self.is_any = {}, asyncio.Event()

    async def tell(self, client, text):
        self.changed[client] = text
        self.is_any.set()

    async def next(self):
        await self.is_any.wait()
        self.is_any.clear()
        texts, self.changed = self.changed.values(), {}
        return b"".join(texts)

    def waiting(self):
        return len(self.changed)


async def live(Follower):
    """What waits for the one who reads nothing, and the last change that the other one hears."""
    followers, tasks, heard = [], [], 0

    async def serve(_, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.transport.set_write_buffer_limits(4096)
        follower = Follower()
        followers.append(follower)
        tasks.append(asyncio.current_task())
        while True:
            writer.write(await follower.next())
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(server.sockets[0].getsockname())
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    while len(followers) < 2:
        await asyncio.sleep(0.001)

    async def listen():
        nonlocal heard
        while text := await reader.readline():
            heard = int(text.split()[1])

    async def tell_all():
        for number in range(1, CHANGES + 1):
            client = number % CLIENTS
            for follower in followers:
                await follower.tell(client, b"c%d %d\n" % (client, number))
            if number % 10 == 0:
                await asyncio.sleep(0)

    tasks.append(asyncio.create_task(listen()))
    teller = asyncio.create_task(tell_all())
    # Until all is heard, or nothing happens any more.
    before = -1
    while heard < CHANGES and (before < heard or not heard):
        before = heard
        await asyncio.sleep(0.5)
    waiting = max(follower.waiting() for follower in followers)
    for task in [*tasks, teller]:
        task.cancel()
    await asyncio.gather(*tasks, teller, return_exceptions=True)
    writer.close()
    stalled.close()
    server.close()
    return waiting, heard


async def main():
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    grown, _ = await live(Unbounded)
    print("changes that wait in a queue", 0, grown, sep="\t")
    _, reached = await live(Bounded)
    print(f"a bound of {BOUND}: the other one hears", CHANGES, reached, sep="\t")
    kept, newest = await live(Newest)
    print("changes that wait in a dict by client", CLIENTS, kept, sep="\t")
    print("a dict: the other one hears", CHANGES, newest, sep="\t")
    if grown < CHANGES // 2 or reached > CHANGES // 2:
        raise SystemExit("nothing has grown, and nobody had to wait")
    if kept > CLIENTS or newest < CHANGES:
        raise SystemExit("the newest of each client was not enough")


asyncio.run(main())
