"""The asyncio twin: one server of the herd as modern asyncio writes it, Python 3.11 or later.

    python3 src/teach/twin/herd_twin.py Clark [--preset 2023] [--plain-peer Old=127.0.0.1:9000 …]

It stands in the source tree to be read beside it: a margin note names the chapter of NOTES.md
that shows how the reactor does the same work. It speaks the course's wire and nothing else, and
meets its neighbours, other twins or servers started with `--plain-peer`, on their client ports:
no greeting, no key, no digest. A link that comes up is told everything instead.
"""

import argparse
import asyncio
import contextlib
import csv
import json
import logging
import math
import os
import random
import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field, replace
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path

# Servers in the order of their ports, and who is joined with whom, as places in that order.
PRESETS = {
    "2014": ("Farmar Gasol Hill Meeks Young", "03 04 13 14 23"),
    "2015": ("Alford Bolden Hamilton Parker Powell", "03 04 13 14 23"),
    "2017": ("Alford Ball Hamilton Holiday Welsh", "02 04 13 14 23"),
    "2018": ("Goloman Hands Holiday Welsh Wilkes", "01 02 04 14 23 24"),
    "2020": ("Hill Jaquez Smith Campbell Singleton", "01 02 41 42 43 23"),
    "2021": ("Riley Jaquez Juzang Campbell Bernard", "01 02 41 42 43 23"),
    "2022": ("Juzang Bernard Jaquez Johnson Clark", "42 40 10 12 13 03"),
    "2023": ("Bailey Bona Campbell Clark Jaquez", "34 31 20 21 24 10"),
}
LINE_BYTES_MAX, ENDLESS_BYTES_MAX, TOO_LONG_START = 8 * 1024, 1024 * 1024, 256
IDLE_S, STALL_S, DIAL_S, PLACES_S = 300, 10, 1, 5
BACKOFF_MIN_S, BACKOFF_MAX_S, EARTH_KM = 0.05, 0.2, 6371.0088
DEMO_PLACES = Path(__file__).parents[2] / "herd/places/demo/helsinki.csv"

# On bytes, \d is ten digits, not all that Unicode has, and split() knows the course's white space.
POSITION = re.compile(rb"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)")
TIME = re.compile(rb"0*(\d{1,38})(?:\.(\d+))?")
SKEW = re.compile(rb"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
QUESTION = re.compile(rb"\+?(\d+(?:\.\d+)?) \+?(\d+)")

log = logging.getLogger("herd")


def read(pattern: re.Pattern[bytes], text: bytes) -> re.Match[bytes]:
    if match := pattern.fullmatch(text):
        return match
    raise ValueError("the line is no command")


def read_position(text: bytes) -> tuple[float, float]:
    latitude, longitude = (Decimal(number.decode()) for number in read(POSITION, text).groups())
    # Comparing is exact; abs() would round to the 28 digits of the context.
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError("that is on no globe")
    return float(latitude), float(longitude)


@dataclass(frozen=True, order=True, slots=True)
class Report:
    """Who was where, when, and who heard it. The order of the fields is the order of reports."""
    # NOTES 10: ties are broken by every byte that servers tell each other, as in `store::rank`.
    stamp: int
    finer: bytes
    position: bytes
    server: bytes
    skew: bytes
    time: bytes
    client: bytes = field(compare=False)

    @classmethod
    def of(cls, server: bytes, skew: bytes, client: bytes, position: bytes, time: bytes):
        read_position(position)
        read(SKEW, skew)
        seconds, fraction = read(TIME, time).groups(b"")
        # NOTES 7: nanoseconds in an int, for no float can hold them, and the digits behind.
        stamp = int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
        return cls(stamp, fraction[9:], position, server, skew, time, client)

    def line(self) -> bytes:
        words = b"AT", self.server, self.skew, self.client, self.position, self.time
        return b" ".join(words) + b"\n"


def on_globe(latitude: float, longitude: float) -> tuple[float, float, float]:
    phi, theta = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)


class Atlas:
    """Places of a CSV file, with columns as those of `helsinki.csv`."""

    def __init__(self, path: Path):
        self.places = []
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            at = {"lat": float(row["lat"]), "lng": float(row["lon"])}
            self.places.append((on_globe(*at.values()), {
                "geometry": {"location": at}, "name": row["name"], "place_id": row["id"],
                "types": row["type"].split(";"), "vicinity": row["vicinity"]}))

    async def near(self, at: tuple[float, float], radius_km: Decimal) -> dict:
        # NOTES 8: answered on the loop, and nobody else is served meanwhile.
        here, reach = on_globe(*at), 2 * math.sin(float(radius_km) / EARTH_KM / 2)
        found = sorted((chord, place["place_id"], place) for there, place in self.places
                       if (chord := math.dist(here, there)) <= reach)
        return {"html_attributions": ["&copy; OpenStreetMap contributors, ODbL"],
                "results": [place for *_, place in found],
                "status": "OK" if found else "ZERO_RESULTS"}


@dataclass
class Service:
    """Google's legacy Nearby Search, or whatever speaks like it."""
    url: str

    async def near(self, at: tuple[float, float], radius_km: Decimal) -> dict:
        try:
            # NOTES 8: urllib blocks, so a thread of the loop's executor waits: one of six on two
            # cores, behind a queue without a bound. The timeout ends our waiting, not its.
            async with asyncio.timeout(PLACES_S):
                return await asyncio.to_thread(self.call, at, float(radius_km) * 1000)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            log.warning("the places service has failed: %r", error)
            return {"html_attributions": [], "results": [], "status": "UNKNOWN_ERROR",
                    "error_message": "the places service has failed"}

    def call(self, at: tuple[float, float], metres: float) -> dict:
        query = {"location": f"{at[0]},{at[1]}", "radius": f"{metres:.10g}",
                 "key": os.environ.get("HERD_PLACES_KEY", "")}
        url = f"{self.url}/maps/api/place/nearbysearch/json?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=PLACES_S) as reply:
            match json.load(reply):
                case {"status": str(), "results": list()} as answer:
                    return answer
        raise ValueError("not a Nearby Search")


@dataclass
class Neighbour:
    name: str
    host: str
    port: int
    # NOTES 11: slow peers; a client that moves a thousand times meanwhile is one line.
    news: dict[bytes, Report] = field(default_factory=dict)
    has_news: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Server:
    name: bytes
    neighbours: list[Neighbour]
    places: Atlas | Service
    held: dict[bytes, Report] = field(default_factory=dict)
    heard_last: int = 0
    visits: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # NOTES 5: a connection's life; its states are the lines of this function.
        self.visits += 1
        who, why = f"client-{self.visits}", "has gone"
        log.info("%s has come from %s", who, writer.get_extra_info("peername"))
        try:
            async for line, is_whole in lines(reader):
                # NOTES 4: no budget: while lines are there, `readuntil` and `drain` do not yield.
                log.debug("%s <- %r", who, line)
                # NOTES 8: the order of answers is free, for nothing behind this line is looked
                # at before it is answered. That is also the price: it waits as well.
                answer = await self.answer(line) if is_whole else b"? %b\n" % line
                if answer:
                    log.debug("%s -> %r", who, answer)
                    await send(writer, answer)
        except OSError as error:
            why = f"is hung up on: {error!r}"
        finally:
            # NOTES 5: no lingering: if input is unread, a reset follows and destroys answers.
            writer.close()
            log.info("%s %s", who, why)

    async def answer(self, line: bytes) -> bytes:
        with contextlib.suppress(ValueError):
            # NOTES 13: a misspelt name in here is found when a client says that line.
            match line.split():
                case []:
                    return b""
                case [b"IAMAT", client, position, time]:
                    report = self.hear(client, position, time)
                    self.judge(report)
                    return report.line()
                case [b"WHATSAT", client, radius, bound] if report := self.held.get(client):
                    return await self.whatsat(report, radius, bound)
                case [b"AT", server, skew, client, position, time]:
                    self.judge(Report.of(server, skew, client, position, time))
                    return b""
        return b"? %b\n" % line

    def hear(self, client: bytes, position: bytes, stamp: bytes) -> Report:
        # No two reports are heard at the same moment, also when the clock is set back.
        self.heard_last = max(time.time_ns(), self.heard_last + 1)
        report = Report.of(self.name, b"+0", client, position, stamp)
        skew = self.heard_last - report.stamp
        seconds, nanos = divmod(abs(skew), 10**9)
        return replace(report, skew=b"%c%d.%09d" % (b"+-"[skew < 0], seconds, nanos))

    def judge(self, report: Report) -> None:
        # NOTES 9: no `await` in here, so nobody sees it half done. That is the law, unwritten.
        if (held := self.held.get(report.client)) and report <= held:
            return
        self.held[report.client] = report
        # NOTES 10: a plain line does not say who tells it, so the teller is told as well.
        for neighbour in self.neighbours:
            neighbour.news[report.client] = report
            neighbour.has_news.set()

    async def whatsat(self, report: Report, radius: bytes, bound: bytes) -> bytes:
        digits = read(QUESTION, radius + b" " + bound).groups()
        radius_km, most = (Decimal(number.decode()) for number in digits)
        if radius_km > 50 or most > 20:
            raise ValueError("that is too much")
        found = await self.places.near(read_position(report.position), radius_km)
        found["results"] = found["results"][:int(most)]
        text = json.dumps(found, ensure_ascii=False, indent=3, separators=(",", " : "))
        return report.line() + text.encode(errors="replace") + b"\n\n"

    async def keep_link(self, peer: Neighbour) -> None:
        # NOTES 11: Waiting, Dialing and Up are the places where this function stands still.
        pause = BACKOFF_MIN_S
        while True:
            try:
                # NOTES 8: a name is resolved by the same six threads.
                async with asyncio.timeout(DIAL_S):
                    reader, writer = await asyncio.open_connection(peer.host, peer.port)
            except OSError as error:
                if pause == BACKOFF_MIN_S:
                    log.info("%s cannot be reached: %r", peer.name, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, BACKOFF_MAX_S)
                continue
            log.info("%s is joined", peer.name)
            # NOTES 11: repair without digests: everything, and then the news.
            peer.news = dict(self.held)
            peer.has_news.set()
            try:
                async with asyncio.TaskGroup() as link:
                    link.create_task(self.tell(peer, writer))
                    link.create_task(until_gone(reader))
            except* OSError as group:
                log.info("%s is lost: %r", peer.name, group.exceptions[0])
            finally:
                writer.close()
            await asyncio.sleep(pause := BACKOFF_MIN_S)

    async def tell(self, peer: Neighbour, writer: asyncio.StreamWriter) -> None:
        while await peer.has_news.wait():
            peer.has_news.clear()
            news, peer.news = peer.news, {}
            for report in news.values():
                log.debug("%s -> %r", peer.name, report.line())
                # NOTES 3: asyncio sends at once, a system call a line; a turn would gather them.
                await send(writer, report.line())


async def send(writer: asyncio.StreamWriter, text: bytes) -> None:
    writer.write(text)
    # NOTES 5: back-pressure; without this the buffer grows without a bound.
    async with asyncio.timeout(STALL_S):
        await writer.drain()


async def until_gone(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass
    raise ConnectionResetError("it has closed")


async def lines(reader: asyncio.StreamReader):
    """Lines without their terminators; of one that is too long the start, and False."""
    skipped = 0  # Bytes of a line that was told as too long; without end, it ends the connection.
    while skipped <= ENDLESS_BYTES_MAX:
        try:
            # NOTES 7: a timer for each line, cancelled at the next; the heap keeps the dead.
            async with asyncio.timeout(IDLE_S):
                line = await reader.readuntil()
        except asyncio.IncompleteReadError as error:
            # NOTES 5: half-close; the last line counts without its newline.
            if not (line := error.partial):
                return
        except asyncio.LimitOverrunError as error:
            # NOTES 13: to asyncio a line too long is an exception; to go on is our own work.
            line = await reader.readexactly(error.consumed)
            if not skipped:
                yield line[:TOO_LONG_START], False
            skipped += len(line)
            continue
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if not skipped:
            is_whole = len(line) <= LINE_BYTES_MAX
            yield (line if is_whole else line[:TOO_LONG_START]), is_whole
        skipped = 0


async def main() -> None:
    parser = argparse.ArgumentParser(description="One server of the herd, in asyncio.")
    parser.add_argument("name")
    parser.add_argument("--preset", choices=PRESETS, default="2023")
    parser.add_argument("--base-port", type=int, default=12000)
    parser.add_argument("--plain-peer", action="append", default=[], metavar="NAME=HOST:PORT")
    parser.add_argument("--places-url", help="of a service that speaks Google's legacy format")
    parser.add_argument("--log-dir", type=Path, default="log")
    given = parser.parse_args()
    names, links = (words.split() for words in PRESETS[given.preset])
    if given.name not in names:
        parser.error(f"the servers of {given.preset} are {', '.join(names)}")
    place = names.index(given.name)
    ends = {int(end) for link in links if str(place) in link for end in link} - {place}
    peers = [Neighbour(names[end], "127.0.0.1", given.base_port + end) for end in sorted(ends)]
    for spelled in given.plain_peer:
        name, host, port = re.split("[=:]", spelled)
        peers.append(Neighbour(name, host, int(port)))
    given.log_dir.mkdir(parents=True, exist_ok=True)
    # NOTES 14: the loop itself waits for the disk, a write for each line.
    logging.basicConfig(filename=given.log_dir / f"{given.name}.log", level=logging.DEBUG,
                        format="%(asctime)s [%(levelname)s] %(message)s")
    places = Service(given.places_url) if given.places_url else Atlas(DEMO_PLACES)
    server = Server(given.name.encode(), peers, places)
    # NOTES 4: the selector is level-triggered: what is left unread is reported again. When
    # descriptors run out, asyncio accepts nobody for a second; unless told, it lets 100 wait.
    port = given.base_port + place
    await asyncio.start_server(server.serve, "127.0.0.1", port, backlog=4096,
                               limit=LINE_BYTES_MAX + 1)
    log.info("%s listens on port %d", given.name, port)
    # NOTES 6: here things are cancelled: a task that fails takes the others with it.
    async with asyncio.TaskGroup() as tasks:
        for peer in peers:
            tasks.create_task(server.keep_link(peer), name=peer.name)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
