#!/usr/bin/env python3
"""The screen of `herd top` in a terminal of its own: run it as `tests/top.py [--herd PROGRAM]`.

Goal: it is right in 80 x 24 and in 200 x 60, after a change of size and after Ctrl-Z; it gives the
terminal back at its end and for a signal. Method: a shell runs the program in a pseudo-terminal, and
`pyte` reads what it draws.

It needs pyte, and says so if it is skipped.
"""

import argparse
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from net.ports import free_base

try:
    import pyte
except ImportError:
    print("\n==== SKIPPED: the screen of `herd top` was not looked at: python3 -m pip install pyte")
    sys.exit()

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 60
NAMES = ["Bailey", "Bona", "Campbell", "Clark", "Jaquez"]
BASE_PORT = free_base(len(NAMES))
LINKS = '[["Bona", "Clark"], ["Bona", "Campbell"], ["Bona", "Bailey"], ["Clark", "Jaquez"]]'
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


class Top:
    """`herd top` in a pseudo-terminal, below a shell that does jobs."""

    def __init__(self, program, folder, size=(80, 24), variables=()):
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes = b""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update({"TERM": "xterm-256color", "PS1": "$ ", "ENV": "", **dict(variables)})
            os.execvp("sh", ["sh", "-i"])
        self.resize(*size)
        self.modes = termios.tcgetattr(self.terminal)
        self.type(f"{program} top\r")

    def resize(self, columns, lines):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def type(self, text):
        os.write(self.terminal, text.encode())

    def until(self, what, look):
        """Reads what is drawn until it is as it should be."""
        deadline = time.monotonic() + TIMEOUT_S
        while not look("\n".join(self.screen.display)):
            shown = "\n".join(self.screen.display)
            assert time.monotonic() < deadline, f"waited in vain until {what}:\n{shown}"
            if select.select([self.terminal], [], [], 0.1)[0]:
                piece = os.read(self.terminal, 65536)
                self.bytes += piece
                self.stream.feed(piece)

    def row(self, name):
        """The line of a server."""
        return next(line for line in self.screen.display if line.startswith(f"{name} "))

    def until_left(self):
        """Waits until the shell is back, and demands that the terminal is as it was."""
        # What is typed before that is the program's.
        self.until("the screen is given back", lambda _: self.bytes.rfind(b"$ ")
                   > self.bytes.rfind(LEFT) > self.bytes.rfind(ENTERED))
        self.screen.reset()
        self.type("echo back\r")
        self.until("the shell answers", lambda text: "\nback" in text)
        assert b"\x1b[?25h" in self.bytes[self.bytes.rfind(ENTERED):], "there is no cursor"
        echoes = termios.tcgetattr(self.terminal)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        assert echoes == self.modes[3] & (termios.ECHO | termios.ICANON | termios.ISIG)

    def close(self):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def full(text):
    """All servers are there, in their order, and figures have come."""
    lines = text.splitlines()
    return all(any(line.startswith(f"{name} ") for line in lines) for name in NAMES) and \
        "5 of 5 ready  even" in text and "0 %" in text and "-- " in text


def sizes(program, folder):
    """Both sizes, and from one to the other while it runs."""
    top = Top(program, folder)
    top.until("it shows the herd", full)
    lines = top.screen.display
    assert lines[0].startswith("herd tops  5 of 5 ready  even "), lines[0]
    assert {"SERVER", "STATE", "CONN", "REQ/S", "BUSY"} <= set(lines[1].split()), lines[1]
    assert [line.split()[0] for line in lines[2:7]] == NAMES
    assert lines[7].startswith("-- Bailey -- connections"), lines[7]
    assert lines[23].startswith("q ends"), lines[23]
    assert "IN/S" not in lines[1] and "PEERS" in lines[1], lines[1]
    top.resize(200, 60)
    top.until("it fills 200 x 60", lambda text: full(text) and "IN/S" in text
              and text.splitlines()[59].startswith("q ends") and " UTC" in text[:200])
    assert top.row("Bona").split()[-3:] == ["Clark", "Campbell", "Bailey"], top.row("Bona")
    top.resize(40, 8)
    top.until("it is small", lambda text: text.splitlines()[7].startswith("q ends")
              and "Bailey" in text)
    top.type("q")
    top.until_left()
    top.close()


def keys(program, folder):
    """Another server, its peers, and back; nothing is coloured if nobody wants that."""
    top = Top(program, folder, (100, 30), {"NO_COLOR": "1"})
    top.until("it shows the herd", full)
    top.type("\x1b[B")
    top.until("Bona is chosen", lambda text: "-- Bona -- connections" in text)
    top.until("its connections are told", lambda text: "operator-" in text and "127.0.0.1:" in text)
    top.type("s")
    top.until("the order is another", lambda text: "connections by idle" in text)
    top.type("\t")
    top.until("its peers are told", lambda text: "-- Bona -- peers" in text and "we dial" in text)
    top.type("k")
    top.until("Bailey is chosen", lambda text: "-- Bailey -- peers" in text)
    subprocess.run([program, "stop", "Clark"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    top.until("Clark is missed", lambda text: "4 of 5 ready" in text and "!Clark" in text
              and top.row("Clark").split()[1] == "stopped")
    subprocess.run([program, "start"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    top.until("Clark is back", lambda text: "5 of 5 ready" in text and "!Clark" not in text)
    assert b"\x1b[31m" not in top.bytes, "red"
    top.type("\x03")
    top.until_left()
    top.close()


def stops(program, folder):
    """Ctrl-Z gives the terminal to the shell, and `fg` takes it again."""
    top = Top(program, folder)
    top.until("it shows the herd", full)
    top.type("\x1a")
    top.until("the shell says so", lambda _: b"Stopped" in top.bytes)
    top.until_left()
    top.type("fg\r")
    top.until("it is back", lambda text: full(text) and text.splitlines()[23].startswith("q ends"))
    # As a shell that is closed ends it.
    os.kill(child_of(top.pid), signal.SIGTERM)
    top.until_left()
    top.close()


def child_of(pid):
    """The process that a shell runs."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


PARTS = {part.__name__: part for part in (sizes, keys, stops)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--herd", help="another program than the one that it would build")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    flags = parser.parse_args()
    if not flags.herd:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=ROOT, check=True)
    program = str(Path(flags.herd or ROOT / "target/release/herd").resolve())
    for name in [name for name in os.environ if name.startswith("HERD_")]:
        del os.environ[name]
    folder = tempfile.mkdtemp()
    text = f'herd = "tops"\nlinks = {LINKS}\n[limits]\ncompare_every = "1 s"\n'
    for number, name in enumerate(NAMES):
        text += f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{BASE_PORT + number}"\n'
    Path(folder, "herd.toml").write_text(text)
    os.environ["HERD_CONFIG"] = "herd.toml"
    try:
        subprocess.run([program, "start"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for name in flags.parts or PARTS:
            began = time.monotonic()
            PARTS[name](program, folder)
            print(f"{name} ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        subprocess.run([program, "stop"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
