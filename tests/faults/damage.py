"""Journals that are spoilt on the disk, and a reader of them that is not the server's."""

import random
import re
import shutil
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

from faults.herds import Herd, connect

HEADER_BYTES, OPENING_BYTES, SECTOR = 256, 22, 512
LIVES, REPORTS = 4, 400
# One in so many is loaded by a server, too, which takes longer than to look at it.
STARTS_ONE_IN = 25


def frames(name, text):
    """Each whole frame of a segment: where it lies, and its lines."""
    journal, number = name.removesuffix(".herd").split("-")
    at, is_over = HEADER_BYTES, b" over=" in text[:HEADER_BYTES]
    # Over an older file, a zero byte ends what was written.
    while at < len(text) and not (is_over and text[at] == 0):
        opening = text[at:at + OPENING_BYTES]
        assert re.fullmatch(rb"#[0-9a-f]{6} [0-9a-f]{4} [0-9a-f]{8}\n", opening), (name, at)
        payload = text[at + OPENING_BYTES:at + OPENING_BYTES + int(opening[1:7], 16)]
        place = struct.pack("<QIQ", int(journal, 16), int(number), at)
        assert zlib.crc32(place + opening[:12] + payload) == int(opening[13:21], 16), (name, at)
        end = at + OPENING_BYTES + len(payload)
        lines = payload.splitlines(keepends=True)
        reports = [line for line in lines if line.startswith(b"AT ")]
        assert len(reports) == int(opening[8:12], 16)
        yield at, end, reports
        at = end


def lay_over(text, number, old):
    """A segment as it is if it was written over the file of another one."""
    fields, _ = text[:HEADER_BYTES].rstrip().rsplit(b" crc=", 1)
    fields += b" over=%d" % number
    crc = zlib.crc32(b"1" + fields.removeprefix(b"herd journal 1"))
    header = (fields + b" crc=%08x" % crc).ljust(HEADER_BYTES - 1) + b"\n"
    new = header + text[HEADER_BYTES:] + b"\0"
    return new + old[len(new):]


def make_journal(herd):
    """The files of a journal of several lives. No client reports twice. Every other one is as if it
    were written over one that is twice as long as the one before it, which says the same."""
    client = 0
    for _ in range(LIVES):
        herd.start()
        assert herd.ready(), "it has ended"
        with connect(herd.port("Hill")) as connection, connection.makefile("rb") as lines:
            for _ in range(REPORTS // 8):
                said = [f"IAMAT c{client + more} +34.1-118.4 7\n" for more in range(8)]
                client += len(said)
                connection.sendall("".join(said).encode())
                assert all(lines.readline().startswith(b"AT ") for _ in said)
        # Ended in order, it says that all of it is synced.
        server = herd.running.pop("Hill")
        server.terminate()
        assert server.wait(60) in (0, 75), "it has ended badly"
    files = {path.name: path.read_bytes() for path in herd.segments()}
    names = list(files)
    for old, name in zip(names[0::2], names[1::2]):
        number = int(old.removesuffix(".herd").split("-")[1])
        files[name] = lay_over(files[name], number, 2 * files[old])
    return files


def spoil(files, chance):
    """A fault or several, and what they are called."""
    files, faults = dict(files), []
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        name, *others = chance.sample(sorted(files), min(len(files), 2))
        other = others[0] if others else name
        text, at = bytearray(files[name]), chance.randrange(max(len(files[name]), 1))
        begin = at // SECTOR * SECTOR
        fault = chance.choice(("bit", "sector", "cut", "swap", "gone"))
        if fault == "bit" and text:
            text[at] ^= 1 << chance.randrange(8)
        elif fault == "sector":
            length = len(text[begin:begin + SECTOR])
            new = chance.choice((bytes(SECTOR), chance.randbytes(SECTOR),
                                 files[other][begin:begin + SECTOR].ljust(SECTOR, b"\0"),
                                 bytes(text[:SECTOR]).ljust(SECTOR, b"\0")))
            text[begin:begin + length] = new[:length]
        elif fault == "cut":
            del text[at:]
        elif fault == "swap":
            text, files[other] = files[other], bytes(text)
        files[name] = bytes(text)
        if fault == "gone" and len(files) > 2:
            del files[name]
        faults.append(fault)
    return files, faults


def spoilt(program, rounds, first_seed):
    """No report is made up, no start fails, and what the fault has left alone is loaded."""
    with Herd(program) as herd:
        good = make_journal(herd)
        whole = {name: list(frames(name, text)) for name, text in good.items()}
        said = {line for found in whole.values() for *_, lines in found for line in lines}
        assert len(said) == LIVES * REPORTS, "not all of it was written"
        shutil.rmtree(herd.place())

        def look(seed):
            chance = random.Random(seed)
            files, faults = spoil(good, chance)
            untouched = {
                line for name, found in whole.items() for begin, end, lines in found
                if files.get(name, b"")[begin:end] == good[name][begin:end] for line in lines}
            folder = herd.folder / f"spoilt-{seed}"
            folder.mkdir()
            for name, text in files.items():
                (folder / name).write_bytes(text)
            dump = herd.ask("journal", "dump", str(folder))
            judge(dump, said, untouched, seed, faults)
            return folder, untouched, faults

        began, starts, kept = time.monotonic(), 0, 0
        seeds = range(first_seed, first_seed + rounds)
        with ThreadPoolExecutor(2) as pool:
            for seed, (folder, untouched, faults) in zip(seeds, pool.map(look, seeds)):
                kept += len(untouched)
                if seed % STARTS_ONE_IN == 0:
                    starts += 1
                    start_on(herd, folder, said, untouched, seed, faults)
                shutil.rmtree(folder, ignore_errors=True)
        return f"{rounds} journals spoilt, {starts} of them started on, none in vain; " \
            f"{kept / rounds:.0f} of {len(said)} reports lay in whole frames, and all were " \
            f"loaded; none was made up ({time.monotonic() - began:.0f} s)"


def start_on(herd, folder, said, untouched, seed, faults):
    """A server starts on it and knows what is left."""
    herd.journals.mkdir(exist_ok=True)
    folder.rename(herd.place())
    herd.start()
    assert herd.ready(), f"seed {seed}, {faults}: it does not start"
    judge(herd.ask("dump", "Hill"), said, untouched, seed, faults)
    herd.kill()
    shutil.rmtree(herd.place())


def judge(dump, said, untouched, seed, faults):
    assert dump.returncode == 0, f"seed {seed}, {faults}: {dump.stderr}"
    found = {line.encode() for line in dump.stdout.splitlines(keepends=True)}
    assert found <= said, f"seed {seed}, {faults}: made up: {list(found - said)[:3]}"
    assert untouched <= found, f"seed {seed}, {faults}: {len(untouched - found)} are not loaded"
