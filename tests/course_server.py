"""One server of the course's herd, as a student might hand it in: asyncio, one file, one port.

    COURSE_BASE_PORT=12000 python3 course_server.py Clark

It stands here so that tests can join it to a herd of the real thing. It knows the assignment's
wire and nothing else: for each update it opens a connection to the client port of each neighbour,
sends a bare AT line and closes. It asks no places service, repairs nothing and checks little.
"""

import asyncio
import os
import re
import sys
import time

SERVERS = ["Bailey", "Bona", "Campbell", "Clark", "Jaquez"]
NEIGHBOURS = {
    "Bailey": ["Campbell", "Bona"],
    "Bona": ["Clark", "Campbell", "Bailey"],
    "Campbell": ["Bailey", "Bona", "Jaquez"],
    "Clark": ["Jaquez", "Bona"],
    "Jaquez": ["Clark", "Campbell"],
}
BASE_PORT = int(os.environ.get("COURSE_BASE_PORT", "12000"))
POSITION = re.compile(r"[+-]\d+(\.\d+)?[+-]\d+(\.\d+)?")


def port_of(name):
    return BASE_PORT + SERVERS.index(name)


def is_number(text):
    try:
        return float(text) >= 0
    except ValueError:
        return False


class Server:
    def __init__(self, name):
        self.name = name
        self.lines = {}  # client -> its newest AT line

    async def run(self):
        server = await asyncio.start_server(self.talk, "127.0.0.1", port_of(self.name))
        async with server:
            await server.serve_forever()

    async def talk(self, reader, writer):
        while data := await reader.readline():
            answer = await self.answer(data.decode())
            writer.write(answer.encode())
            await writer.drain()
        writer.close()

    async def answer(self, line):
        fields = line.split()
        match fields:
            case ["IAMAT", client, position, stamp] if (
                POSITION.fullmatch(position) and is_number(stamp)
            ):
                skew = time.time() - float(stamp)
                report = f"AT {self.name} {skew:+} {client} {position} {stamp}"
                await self.store(report)
                return report + "\n"
            case ["WHATSAT", client, radius, bound] if (
                client in self.lines
                and is_number(radius)
                and float(radius) <= 50
                and is_number(bound)
                and float(bound) <= 20
            ):
                return self.lines[client] + '\n{"results": []}\n\n'
            case ["AT", _, _, client, _, stamp]:
                await self.store(" ".join(fields))
                return ""
            case []:
                return ""
        return f"? {line.rstrip()}\n"

    async def store(self, report):
        """Keeps a report and passes it on, if it is newer than what is kept."""
        client, stamp = report.split()[3::2]
        if client in self.lines and float(stamp) <= float(self.lines[client].split()[5]):
            return
        self.lines[client] = report
        for neighbour in NEIGHBOURS[self.name]:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port_of(neighbour))
                writer.write(report.encode())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            except OSError:
                pass  # It is down, and will miss this one: the course asks for no more.


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SERVERS:
        sys.exit(f"usage: {sys.argv[0]} " + "|".join(SERVERS))
    asyncio.run(Server(sys.argv[1]).run())
