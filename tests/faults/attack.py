"""All at once, for as long as one likes: servers of a herd die, alone and together, their journals
are spoilt, their disk is full, and they are started again in any order.

Clients remember what they were answered. While a server is dead, `herd journal check` and `dump`
must tell the truth about what it has left; when it is back, it must hold what it has answered. Of a
journal that was spoilt, its peers bring back what is lost, and it is measured how soon.
"""

import collections
import contextlib
import json
import random
import re
import shutil
import struct
import time
import zlib

from faults.damage import HEADER_BYTES, OPENING_BYTES, spoil
from faults.full import mount, small_disk
from faults.herds import TIMEOUT_S, Herd, Skipped, Talker, demand_all, lost, remember, until

KEEPS = "written", "synced"
DISK = "size=768m"
# Of a caller: so many clients, and a pause between its lines.
CLIENTS, PAUSE_S = 400, 0.003
LINE = re.compile(rb"AT (\w+) [+-][\d.]+ (\w+)-(\d+) \+34\.(\d{6})-118\.4 (\d+)\n")


def attack(program, minutes, seed):
    """Runs for so many minutes, half of them for each promise."""
    told = []
    for at, keep in enumerate(KEEPS):
        chance = random.Random(seed + at)
        with Herd(program, 5, keep) as herd, contextlib.ExitStack() as stack:
            try:
                stack.enter_context(small_disk(herd, DISK))
                ballast = herd.journals / "ballast"
            except Skipped as reason:
                ballast = None
                shutil.rmtree(herd.journals)
                told.append(f"(the disk was never full: {reason})")
            told.append(f"{keep}: {Attack(herd, chance, ballast).last(30 * minutes)}")
    return "; ".join(told)


class Caller(Talker):
    """Each of its reports says who has said it, and which one it is."""

    def report(self):
        return f"IAMAT {self.number}-{self.time % CLIENTS} +34.{self.time % 10**6:06}-118.4 " \
            f"{self.time}\n"


class Attack:
    """A herd under attack. Between two acts, all servers run and all clients talk."""

    def __init__(self, herd, chance, ballast):
        self.herd, self.chance, self.ballast = herd, chance, ballast
        # Of each server: what it has answered, and the number of its next report.
        self.answered = {name: {} for name in herd.names}
        self.next = dict.fromkeys(herd.names, 1)
        self.callers = {}
        self.count = collections.Counter()
        self.whole_s = self.status_s = 0.0

    def last(self, seconds):
        acts = [self.kill_one, self.kill_some, self.kill_all, self.stop_one, self.spoil_one]
        acts += [self.fill_disk] if self.ballast else []
        self.herd.journals.mkdir(exist_ok=True)
        self.start(self.some(5))
        end = time.monotonic() + seconds
        while time.monotonic() < end or self.count["acts"] < len(acts):
            time.sleep(self.chance.uniform(0, 0.7))
            # Each of them comes soon, and then any of them.
            act = acts[self.count["acts"]] if self.count["acts"] < len(acts) \
                else self.chance.choice(acts)
            self.what = f"act {self.count['acts']}, {act.__name__}"
            act()
            self.count["acts"] += 1
        self.what = "the end"
        self.kill(self.some(5))
        self.start(self.some(5))
        self.demand_equal()
        found = self.count
        return f"{found['acts']} acts, {found['deaths']} deaths, {found['answers']} reports " \
            f"answered, none lost; {found['spoilt']} journals spoilt (and {found['told']} told " \
            f"to be), whole again within {self.whole_s:.1f} s; the disk full {found['full']} " \
            f"times, {found['refused']} reports refused, status within {self.status_s:.2f} s"

    # ---- acts ----

    def kill_one(self):
        self.again(1)

    def kill_some(self):
        self.again(self.chance.randrange(2, 5))

    def kill_all(self):
        self.again(5)

    def again(self, count):
        names = self.some(count)
        self.kill(names)
        time.sleep(self.chance.choice((0, 0, 0.3)))
        self.chance.shuffle(names)
        self.start(names)

    def stop_one(self):
        name, = self.some(1)
        server = self.herd.running.pop(name)
        server.terminate()
        self.hush(name)
        code = server.wait(TIMEOUT_S)
        assert code in (0, 75), f"{self.what}: {name} has ended with {code}"
        self.look_at(name)
        self.start([name])

    def spoil_one(self):
        """What it has answered its peers know, too; then its journal is spoilt."""
        name, = self.some(1)
        self.hush(name, hung_up=False)
        self.demand_equal(self.answered[name])
        self.herd.kill(name)
        self.look_at(name)
        place = self.herd.place(name)
        files = {path.name: path.read_bytes() for path in self.herd.segments(name)}
        # Behind what was written to a file, there may be zeros, and they cannot be spoilt.
        good = {name: text.rstrip(b"\0") for name, text in files.items()}
        spoilt, faults = spoil(good, self.chance)
        for segment in files:
            if segment not in spoilt:
                (place / segment).unlink()
            elif spoilt[segment] != good[segment]:
                (place / segment).write_bytes(spoilt[segment])
        what = f"{self.what}, {name} {faults}"
        is_whole = self.judge(name, good, spoilt, what)
        self.start([name], is_spoilt=True)
        began = time.monotonic()
        until(f"{what}: it is whole again",
              lambda: not lost(self.herd.port(name), self.of_all()))
        self.whole_s = max(self.whole_s, time.monotonic() - began)
        assert self.herd.is_damaged(name) != is_whole, f"{what}: its log says something else"
        self.count.update(spoilt=1, told=not is_whole)
        # As one does who has looked at them.
        for aside in "damaged", "aside":
            shutil.rmtree(place / aside, ignore_errors=True)

    def judge(self, name, good, spoilt, what):
        """`check` and `dump` tell the truth about a journal that was spoilt. Says whether it is
        whole."""
        told = self.herd.ask("journal", "check", "--json", str(self.herd.place(name)))
        assert told.returncode in (0, 1), f"{what}: {told.stderr}"
        found, (left, gone) = json.loads(told.stdout), sort_frames(good, spoilt)
        assert found["whole"] == (told.returncode == 0), f"{what}: {found}"
        synced = synced_bytes(spoilt)
        hit = [(segment, begin) for segment, begin, end, _ in gone
               if end <= synced.get(segment, 0)]
        assert not (hit and found["whole"]), f"{what}: {hit[:3]} are lost, and nobody says so"
        held = self.dump(name, what)
        for *_, lines in left:
            for line in lines:
                who, number = client_of(line)
                assert held.get(who, 0) >= number, f"{what}: {line} lies there, and is not told"
        return found["whole"]

    def fill_disk(self):
        with open(self.ballast, "wb", buffering=0) as ballast:
            for piece in 1 << 20, 1 << 12:
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(piece)) == piece:
                        pass
        end = time.monotonic() + self.chance.choice((1, 2, 7))
        dies = self.chance.choice((True, False))
        while time.monotonic() < end:
            for name in self.herd.names:
                began = time.monotonic()
                until(f"{self.what}: {name} has a status", lambda: self.herd.status(name))
                self.status_s = max(self.status_s, time.monotonic() - began)
            time.sleep(0.05)
        name, = self.some(1)
        if dies:
            self.kill([name])
            self.herd.start(name)
            if not self.herd.ready(name):
                code = self.herd.running.pop(name).wait(TIMEOUT_S)
                assert code == 73, f"{self.what}: {name} has ended with {code}"
        self.ballast.unlink()
        if dies and name in self.herd.running:
            demand_all(self.herd.port(name), self.answered[name], f"{self.what}: {name}")
            self.callers[name] = self.call(name)
        elif dies:
            self.start([name])
        for name, caller in self.callers.items():
            until(f"{self.what}: {name} goes on", lambda: self.goes_on(name, caller, caller.heard))
            assert not caller.is_hung_up_on, f"{self.what}: {name} has hung up"
        self.count["full"] += 1

    def goes_on(self, name, caller, heard):
        """Whether its journal takes reports again, and answers leave."""
        status = self.herd.status(name)
        if not status or status["journal"]["state"] not in ("well", "compacting"):
            return False
        return until("answers leave", lambda: caller.heard > heard + 100 or caller.is_hung_up_on)

    # ---- what acts consist of ----

    def some(self, count):
        return self.chance.sample(self.herd.names, count)

    def call(self, name):
        return Caller(self.herd.port(name), name, self.next[name], pause=PAUSE_S)

    def hush(self, name, hung_up=True):
        """Its clients talk no more, and what they have heard is added to what is known."""
        caller = self.callers.pop(name)
        if not hung_up:
            caller.stop()
        remember(self.answered[name], [caller])
        for reports in self.answered[name].values():
            del reports[:-1]
        self.next[name] = caller.time
        self.count.update(answers=caller.heard - caller.refused, refused=caller.refused)

    def kill(self, names):
        for name in names:
            self.herd.kill(name)
            time.sleep(self.chance.choice((0, 0, 0.02, 0.2)))
        for name in names:
            self.hush(name)
        for name in names:
            self.look_at(name)
        self.count["deaths"] += len(names)

    def start(self, names, is_spoilt=False):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                (self.herd.folder / "log" / f"{name}.log").unlink()
            self.herd.start(name)
            time.sleep(self.chance.choice((0, 0, 0.02, 0.2)))
        for name in names:
            assert self.herd.ready(name), f"{self.what}: {name} does not start"
            if not is_spoilt:
                demand_all(self.herd.port(name), self.answered[name], f"{self.what}: {name}")
                assert not self.herd.is_damaged(name), f"{self.what}: {name} is damaged"
            self.callers[name] = self.call(name)

    what = "the beginning"

    def look_at(self, name):
        """A server has died: its journal is whole, and holds what it has answered."""
        told = self.herd.ask("journal", "check", str(self.herd.place(name)))
        assert told.returncode == 0, f"{self.what}: {name}: {told.stdout} {told.stderr}"
        held = self.dump(name, self.what)
        for client, reports in self.answered[name].items():
            number = reports[-1][0]
            assert held.get(client, 0) >= number, f"{self.what}: {client} {number} is lost"

    def dump(self, name, what):
        """The number of each client's report in a journal. Nothing there is made up."""
        told = self.herd.ask("journal", "dump", str(self.herd.place(name)))
        assert told.returncode == 0, f"{what}: {told.stderr}"
        held = {}
        for line in told.stdout.encode().splitlines(keepends=True):
            client, number = client_of(line)
            server = client.split("-")[0]
            said = self.callers[server].time if server in self.callers else self.next[server]
            assert number < said, f"{what}: {line} was never said"
            assert client not in held, f"{what}: {client} is told twice"
            held[client] = number
        return held

    def of_all(self):
        return {client: reports for answered in self.answered.values()
                for client, reports in answered.items()}

    def demand_equal(self, answered=None):
        answered = self.of_all() if answered is None else answered
        for name in self.herd.running:
            until(f"{self.what}: {name} knows what was answered",
                  lambda: not lost(self.herd.port(name), answered))


def client_of(line):
    """Whose report it is, and which; it must be one that a caller could have said."""
    fields = LINE.fullmatch(line)
    assert fields, f"made up: {line}"
    server, whose, client, place, number = (field.decode() for field in fields.groups())
    number = int(number)
    is_so = server == whose and int(client) == number % CLIENTS and int(place) == number % 10**6
    assert is_so, f"made up: {line}"
    return f"{whose}-{client}", number


def frames(name, text):
    """The whole frames of a segment: where each begins and ends, and its lines."""
    journal, number = name.removesuffix(".herd").split("-")
    at = HEADER_BYTES
    while (at := text.find(b"#", at)) >= 0:
        opening = text[at:at + OPENING_BYTES]
        if re.fullmatch(rb"#[0-9a-f]{6} [0-9a-f]{4} [0-9a-f]{8}\n", opening):
            end = at + OPENING_BYTES + int(opening[1:7], 16)
            place = struct.pack("<QIQ", int(journal, 16), int(number), at)
            covered = place + opening[:12] + text[at + OPENING_BYTES:end]
            if end <= len(text) and zlib.crc32(covered) == int(opening[13:21], 16):
                yield at, end, text[at + OPENING_BYTES:end].splitlines(keepends=True)
                at = end
                continue
        at += 1


def sort_frames(good, spoilt):
    """Frames of reports that were left alone, and those that are gone."""
    left, gone = [], []
    for name, text in good.items():
        for begin, end, lines in frames(name, text):
            reports = [line for line in lines if line.startswith(b"AT ")]
            is_left = spoilt.get(name, b"")[begin:end] == text[begin:end]
            (left if is_left else gone).append((name, begin, end, reports))
    return left, gone


def synced_bytes(spoilt):
    """How much of each segment must be there, by what is left: of a file that is gone, something,
    if there is a later one."""
    synced, oldest, last = {}, 0, max(name for name in spoilt)
    for name, text in spoilt.items():
        for *_, lines in frames(name, text):
            for line in lines:
                fact, *numbers = line.split()
                if fact == b"SYNCED":
                    segment = f"{name.split('-')[0]}-{int(numbers[0]):08}.herd"
                    synced[segment] = max(synced.get(segment, 0), int(numbers[1]))
                elif fact == b"OLDEST":
                    oldest = max(oldest, int(numbers[0]))

    def is_missed(segment):
        number = int(segment.removesuffix(".herd").split("-")[1])
        return segment in spoilt or oldest <= number and segment < last
    return {segment: length for segment, length in synced.items() if is_missed(segment)}
