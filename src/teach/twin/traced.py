"""Runs the asyncio twin and records what asyncio does: the same trace as `herd serve --trace`.

    python3 src/teach/twin/traced.py NAME --trace FILE [what else herd_twin.py takes]

It is apart from the twin, which knows nothing of it, and changes no line of asyncio: it stands
where `_run_once` begins and ends, where the selector sleeps, where a handle runs and where a
socket reads or writes. FILE is written at the end and at SIGUSR1. Each pass of `_run_once` is a
turn; what a handle does is a phase; for each step of a task, `at` says where the coroutine now
stands. Names and meanings are those of the reactor's trace (NOTES 3).
"""

import argparse
import asyncio
import functools
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path

TWIN = Path(__file__).with_name("herd_twin.py")
RECORDS_MAX = 65_536
LOOP = 1  # The row of the loop; threads have those above.


class Tape:
    """The last records, and the clock by which they are made."""

    def __init__(self, server: str, path: Path):
        self.server, self.path, self.writing = server, path, threading.Lock()
        self.records, self.count = deque(maxlen=RECORDS_MAX), 0
        self.rows = {threading.get_ident(): (LOOP, "loop")}
        reads = ((time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(8))
        self.origin, self.posix, _ = min(reads, key=lambda read: read[2] - read[0])

    def now(self) -> int:
        return time.monotonic_ns() - self.origin

    def is_loop(self) -> bool:
        return self.rows.get(threading.get_ident(), (0,))[0] == LOOP

    def end(self, began: int, name: str, category: str, **args) -> None:
        ended, thread = self.now(), threading.current_thread()
        row, _ = self.rows.setdefault(thread.ident, (len(self.rows) + 1, thread.name))
        more = {"ph": "X", "dur": (ended - began) / 1000, "args": args}
        self.note(name, category, row, began, more)

    def note(self, name: str, category: str, row: int, at: int, more: dict) -> None:
        self.count += 1
        self.records.append((name, category, row, at, more))

    def hop(self, at: int, way: dict, text: bytes, teller: int, hearer: int) -> None:
        """Each AT line that goes over a link, named as both of its ends know it."""
        for line in text.splitlines():
            match line.split():
                case [b"AT", _, _, client, _, stamp]:
                    name = 0xCBF29CE484222325
                    for byte in b"%b %b %d>%d" % (client, stamp, teller, hearer):
                        name = (name ^ byte) * 0x100000001B3 % 2**64
                    args = {"client": client.decode(errors="replace")}
                    self.note("AT", "hop", LOOP, at, way | {"id": f"{name:016x}", "args": args})

    def save(self) -> None:
        """Whole turns only: of one that has lost its beginning, nothing is worth showing."""
        with self.writing:
            records, count = list(self.records.copy()), self.count
            turns = [at for at, record in enumerate(records) if record[0] == "turn"]
            first = turns[0] + 1 if turns and count > len(records) else 0
            records = records[first:turns[-1] + 1] if turns else []
            about = {"schema": "herd-trace/1", "server": self.server, "engine": "asyncio",
                     "pid": os.getpid(), "origin_posix_us": self.posix / 1000,
                     "dropped": count - len(records)}
            names = [("process_name", LOOP, f"{self.server} (asyncio)")]
            names += [("thread_name", row, name) for row, name in list(self.rows.values())]
            events = [{"name": what, "ph": "M", "pid": os.getpid(), "tid": row,
                       "args": {"name": name}} for what, row, name in names]
            events += [{"name": name, "cat": category, "ts": at / 1000, "pid": os.getpid(),
                        "tid": row} | more for name, category, row, at, more in records]
            beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
            whole = {"displayTimeUnit": "ns", "otherData": about, "traceEvents": events}
            beside.write_text(json.dumps(whole), encoding="utf-8")
            beside.replace(self.path)


class Loop(asyncio.SelectorEventLoop):
    """Stock asyncio, watched at its seams."""

    def __init__(self, tape: Tape):
        super().__init__(Selector(tape))
        self.tape, self.turns, self.timers = tape, 0, 0
        # By way of the waker: a plain handler would wait for a loop that has just gone to sleep.
        self.add_signal_handler(
            signal.SIGUSR1, lambda: threading.Thread(target=tape.save).start())
        for end in (signal.SIGINT, signal.SIGTERM):
            self.add_signal_handler(end, self.leave)

    def leave(self) -> None:
        """Ends at once: a task that loses its link while it is cancelled would go on for ever."""
        self.tape.save()
        os._exit(0)

    def _run_once(self) -> None:
        began, self.timers = self.tape.now(), 0
        super()._run_once()
        transports = list(self._transports.values())
        owing = sum(transport.get_write_buffer_size() > 0 for transport in transports
                    if hasattr(transport, "get_write_buffer_size"))
        self.tape.end(began, "turn", "turn", n=self.turns, ready=self._selector.ready,
                      timers=self.timers, unfinished=len(self._ready), owing=owing,
                      open=len(transports))
        self.turns += 1

    def run_in_executor(self, executor, call, *args):
        def watched(*args):
            began = self.tape.now()
            try:
                return call(*args)
            finally:
                inner = call.args[0] if isinstance(call, functools.partial) else call
                self.tape.end(began, "call", "work", what=inner.__qualname__)
        return super().run_in_executor(executor, watched, *args)


class Selector(selectors.DefaultSelector):
    def __init__(self, tape: Tape):
        super().__init__()
        self.tape, self.ready = tape, 0

    def select(self, timeout=None):
        began = self.tape.now()
        events = super().select(timeout)
        self.ready = len(events)
        patience = None if timeout is None else int(timeout * 1e6)
        self.tape.end(began, "sleep", "phase", patience_us=patience, ready=self.ready)
        return events


def stands(coroutine) -> str:
    """The innermost line of the twin in which a coroutine waits."""
    place = "done"
    while coroutine is not None:
        for kind in ("cr", "gi", "ag"):
            if frame := getattr(coroutine, f"{kind}_frame", None):
                if frame.f_code.co_filename == str(TWIN):
                    place = f"{frame.f_code.co_name}, {TWIN.name}:{frame.f_lineno}"
                following = "gi_yieldfrom" if kind == "gi" else f"{kind}_await"
                coroutine = getattr(coroutine, following)
                break
        else:
            # A step of an async generator does not say of which; only the collector knows.
            inside = gc.get_referents(coroutine)
            coroutine = next((it for it in inside if hasattr(it, "ag_frame")), None)
    return place


class Watch:
    """Stands where handles run and where sockets read and write."""

    def __init__(self, tape: Tape):
        self.tape, self.visits = tape, 0
        self.ends = {}  # By descriptor: the connection's name, our port, the far end's.
        self.around(asyncio.Handle, "_run", self.ran)
        self.around(socket.socket, "accept", self.accepted)
        self.around(socket.socket, "connect", self.dialled)
        self.around(socket.socket, "recv", self.filled)
        self.around(socket.socket, "send", self.sent)
        self.around(asyncio.StreamWriter, "write", self.told)
        inner = asyncio.StreamReader.readuntil

        async def readuntil(reader, *args):
            line = await inner(reader, *args)
            _, ours, theirs = self.end_of(reader._transport)
            tape.hop(tape.now(), {"ph": "f", "bp": "e"}, line, theirs, ours)
            return line
        asyncio.StreamReader.readuntil = readuntil

    def around(self, kind, name: str, seen) -> None:
        """Shows `seen` each call in the loop's thread: when it began, and what came of it."""
        inner = getattr(kind, name)

        def outer(this, *args):
            began, result = self.tape.now(), None
            try:
                result = inner(this, *args)
                return result
            finally:
                if self.tape.is_loop():
                    seen(began, this, args, result)
        setattr(kind, name, outer)

    def end_of(self, transport) -> tuple[str, int, int]:
        return self.ends[transport.get_extra_info("socket").fileno()]

    def conn(self, sock) -> str:
        return self.ends.get(sock.fileno(), ("waker",))[0]

    def accepted(self, began, _door, _args, result) -> None:
        if result:
            self.visits += 1
            sock, (_, port, *_) = result
            self.ends[sock.fileno()] = f"client-{self.visits}", sock.getsockname()[1], port
            self.tape.end(began, "accept", "work", conn=self.conn(sock), door="Client")

    def dialled(self, began, sock, args, _result) -> None:
        # The twin names a link's task after its peer.
        peer = asyncio.current_task().get_name()
        self.ends[sock.fileno()] = peer, sock.getsockname()[1], args[0][1]
        self.tape.end(began, "dial", "work", peer=peer)

    def filled(self, began, sock, _args, result) -> None:
        self.tape.end(began, "fill", "work", conn=self.conn(sock), bytes=len(result or b""))

    def sent(self, began, sock, args, result) -> None:
        sent = result or 0
        self.tape.end(began, "write", "work", conn=self.conn(sock), bytes=sent,
                      left=len(args[0]) - sent)

    def told(self, began, writer, args, _result) -> None:
        conn, ours, theirs = self.end_of(writer)
        # What a client is told are answers.
        if not conn.startswith("client-"):
            self.tape.hop(began, {"ph": "s"}, args[0], ours, theirs)

    def ran(self, began, handle, _args, _result) -> None:
        call = handle._callback
        what, owner = getattr(call, "__qualname__", repr(call)), getattr(call, "__self__", None)
        method, sock = what.rpartition(".")[2], getattr(owner, "_sock", None)
        conn = {"conn": self.conn(sock)} if sock and sock.fileno() in self.ends else {}
        name, args = "callback", {"what": what}
        if isinstance(handle, asyncio.TimerHandle):
            name, handle._loop.timers = "timer", handle._loop.timers + 1
        elif isinstance(owner, asyncio.Task):
            coroutine = owner.get_coro()
            args = {"task": owner.get_name(), "coro": coroutine.__qualname__,
                    "at": stands(coroutine)}
            name = "step"
        elif method in ("_read_ready", "_accept_connection"):
            name, args = "ready", conn | {"readable": True, "writable": False, "closed": False}
        elif method in ("_write_ready", "_sock_connect_cb"):
            name, args = "ready", conn | {"readable": False, "writable": True, "closed": False}
        elif method == "_read_from_self":
            name, args = "waker", {}
        elif method == "_call_connection_lost":
            name, args = "bury", {"slots": 1}
        self.tape.end(began, name, "phase", **args)


def main() -> None:
    parser = argparse.ArgumentParser(description="The asyncio twin, traced.", allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--trace", type=Path, required=True)
    given, rest = parser.parse_known_args()
    tape = Tape(given.name, given.trace)
    try:
        tape.save()
    except OSError as error:
        sys.exit(f"the trace cannot be written to {given.trace}: {error}")
    Watch(tape)
    asyncio.events.new_event_loop = lambda: Loop(tape)
    sys.argv = [str(TWIN), given.name, *rest]
    try:
        runpy.run_path(str(TWIN), run_name="__main__")
    finally:
        tape.save()


if __name__ == "__main__":
    main()
