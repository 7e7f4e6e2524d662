"""`Server.close` shuts the door, and says nothing to those inside."""

import asyncio
import os
import signal

CLIENTS = 20
ANSWER_S = 0.3
DRAIN_S = 2


class House:
    """A server whose answers take a while, and what it needs to know in order to drain."""

    def __init__(self):
        self.is_over = False
        self.busy, self.idle = set(), set()

    async def serve(self, reader, writer):
        while not self.is_over:
            self.idle.add(writer)
            line = await reader.readline()
            self.idle.discard(writer)
            if not line:
                break
            self.busy.add(asyncio.current_task())
            await asyncio.sleep(ANSWER_S)
            writer.write(b"AT last\n")
            await writer.drain()
            self.busy.discard(asyncio.current_task())
        writer.close()

    async def drain(self):
        """Nobody is asked any more, the last answers leave, and all are told."""
        self.is_over = True
        for writer in self.idle:
            writer.close()
        if self.busy:
            await asyncio.wait(self.busy, timeout=DRAIN_S)


async def live(port_is, drains):
    """A whole life of a server, until SIGTERM."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    # Else each coroutine that is cancelled is a page of complaints.
    loop.set_exception_handler(lambda *_: None)
    house = House()
    server = await asyncio.start_server(house.serve, "127.0.0.1", 0)
    os.write(port_is, b"%d" % server.sockets[0].getsockname()[1])
    await told.wait()
    server.close()
    if drains:
        await house.drain()
    # `asyncio.run` cancels what still runs, and the process ends.


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"WHATSAT kiwi 10 1\n")
    try:
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def crowd(pid, port):
    clients = [asyncio.create_task(ask(port)) for _ in range(CLIENTS)]
    await asyncio.sleep(ANSWER_S / 2)
    os.kill(pid, signal.SIGTERM)
    return sum(answer == b"AT last\n" for answer in await asyncio.gather(*clients))


def count_answers(drains):
    """How many clients are answered who have asked before the server was told to stop."""
    port, port_is = os.pipe()
    pid = os.fork()
    if pid == 0:
        asyncio.run(live(port_is, drains))
        os._exit(0)
    answered = asyncio.run(crowd(pid, int(os.read(port, 16))))
    os.waitpid(pid, 0)
    return answered


async def wait_closed():
    """What `wait_closed` does beside a client that says nothing."""
    server = await asyncio.start_server(House().serve, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await asyncio.sleep(0.05)
    server.close()
    try:
        async with asyncio.timeout(1):
            await server.wait_closed()
            return "does not wait"
    except TimeoutError:
        return "waits for ever"
    finally:
        writer.close()


closed, drained = count_answers(drains=False), count_answers(drains=True)
print(f"{CLIENTS} wait for an answer, `Server.close`: answered", CLIENTS, closed, sep="\t")
print("the same, and then a drain of ours", CLIENTS, drained, sep="\t")
print("`wait_closed` beside a silent client", "a drain", asyncio.run(wait_closed()), sep="\t")
if closed or drained != CLIENTS:
    raise SystemExit("`Server.close` has let them have their answers")
