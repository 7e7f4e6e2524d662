#!/usr/bin/env python3
"""The documents as a reader types them: run it as `tests/as_typed.py`.

Goal: every command of all of them works as it stands, in the order of the text, and prints what the text
shows. Method: a copy of the tree and one shell for each document, so that what one block exports,
starts or leaves behind is there for the next. At the end nothing may be left running.

What a block is says the line that opens it:

    ```sh                          commands; each must end with 0
    ```console                     commands behind `$ `, and what they print, which is compared;
                                   where the text shows nothing, anything may be printed
    ```console varies: skew pid    the same, but for these kinds of figures: see VARIES
    ```console types: 1 3          a dialogue: the first command's input is lines 1 and 3 after it
    ```sh needs: ogr2ogr FILE      what a machine may lack, and a file that the test brings (FILES)
    ```sh not run: REASON          what a test must not do; told and counted

A block without a language is no command. What takes minutes is run by `.ci/run`, and ELSEWHERE says
which of its lines does that. Commands within a sentence are not run, but what they name must exist.

`tests/as_typed.py --rewrite` puts what was printed into the documents, where it differs.
"""

import argparse
import difflib
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "NOTES.md", "src/core/PROTOCOL.md", "src/herd/PRODUCTION.md",
             "src/herd/CLIENTS.md", "src/herd/COURSE.md", "src/herd/config/SETTINGS.md", "src/herd/places/README.md",
             "benches/README.md"]
# Generous: the first command builds. Only what never ends takes so long.
TIMEOUT_S = 900
# The ports of the presets, which the documents name.
PORTS = [*range(12000, 12005), *range(12100, 12105), *range(12200, 12205),
         *range(12400, 12405), *range(13000, 13005)]

VARIES = {
    "time": r"\b1\d{9}(\.\d+)?\b",
    "skew": r"[+-]\d+\.\d{9}\b",
    "date": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "pid": r"(?<=pid )\d+|\b\d+(?=\s+\d{4}-\d\d-\d\d )",
    "digest": r"\b[0-9a-f]{8}\b",
    "figures": r"\d+(\.\d+)?( [kM])?",
}

# Commands that are run by a line of `.ci/run`, in this or a shorter form.
ELSEWHERE = {
    r"cargo test": "step cargo test --locked",
    r"cargo bench --bench rivals\b.*": "step quick_bench --bench rivals -- --quick",
    r"cargo run --release --manifest-path benches/journals/Cargo.toml .*":
        "step measure_journals",
    r"cargo bench --bench herds\b.*": "step quick_bench --bench herds -- --quick",
    r"cargo bench( --bench \w+)?": "step quick_bench -- --test",
    r"herd mutants": "step cargo run --locked --release -- mutants",
}
# What a machine may lack, wherever it is typed.
TOOLS = ["curl", "nc", "python3"]
# What a reader has and a test does not, and how to make it.
FILES = {"region.osm.pbf": """osmium cat -f pbf -o region.osm.pbf -F osm - <<'END'
<osm version="0.6">
<node id="1" version="1" lat="60.1" lon="24.1">
<tag k="amenity" v="cafe"/><tag k="name" v="A"/></node>
<node id="2" version="1" lat="60.2" lon="24.2">
<tag k="shop" v="books"/><tag k="name" v="B"/></node>
<node id="3" version="1" lat="60.2" lon="24.3"/>
<node id="4" version="1" lat="60.3" lon="24.3"/>
<way id="5" version="1"><nd ref="2"/><nd ref="3"/><nd ref="4"/><nd ref="2"/>
<tag k="building" v="yes"/><tag k="amenity" v="school"/><tag k="name" v="C"/></way>
</osm>
END"""}


# ---- documents ----

class Command:
    """Something to be typed, and the lines of the document that show what it prints."""

    def __init__(self, text, line, first, last):
        self.text, self.line, self.first, self.last = text, line, first, last


def fences(lines):
    """Of each block: its opening words, and its first line and the one behind its last."""
    opened = None
    for at, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = at
        else:
            yield lines[opened][3:].strip(), opened + 1, at
            opened = None
    assert opened is None, f"line {opened + 1}: a block is not closed"


def is_whole(text):
    checked = subprocess.run(["bash", "-n", "-c", text], capture_output=True)
    # Of a text that ends within a here-document it only warns.
    return not text.endswith("\\") and checked.returncode == 0 and not checked.stderr


def commands_of(lines, begin, end, is_console):
    at = begin
    while at < end:
        start, text = at, lines[at]
        if is_console:
            assert text.startswith("$ "), f"line {at + 1}: a command begins with `$ `"
            text = text[2:]
        at += 1
        if not text.strip() or text.startswith("#"):
            continue
        while not is_whole(text):
            assert at < end, f"line {start + 1}: this command does not end"
            text += "\n" + (lines[at].removeprefix("> ") if is_console else lines[at])
            at += 1
        first = at
        while is_console and at < end and not lines[at].startswith("$ "):
            at += 1
        yield Command(text, start + 1, first, at)


def blocks_of(lines):
    """Each block to be typed: its marks, and its commands."""
    for words, begin, end in fences(lines):
        language, _, mark = words.partition(" ")
        if language not in ("sh", "console"):
            typed = [line for line in lines[begin:end] if re.match(r"(\$|\./herd\.sh) ", line)]
            assert not typed, f"line {begin}: is this to be typed? {typed}"
            continue
        key, _, value = mark.partition(": ")
        known = ("", "varies", "types", "needs", "not run")
        assert key in known, f"line {begin}: what is `{mark}`?"
        yield key, value, list(commands_of(lines, begin, end, language == "console"))


# ---- a shell ----

class Shell:
    """One terminal, in which a document is typed from its first command to its last."""

    def __init__(self, folder):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("HERD_") and name != "BASH_ENV"}
        environment["PATH"] = ":".join(place for place in environment["PATH"].split(":")
                                       if not place.endswith("target/release"))
        self.told, writing = os.pipe()
        self.folder, self.count = folder, 0
        self.scratch = folder.parent / "typed"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        self.process = subprocess.Popen(
            ["bash", "--norc"], stdin=subprocess.PIPE, cwd=folder, env=environment,
            pass_fds=[writing], start_new_session=True)
        self.writing = writing
        # What a reader waits for takes longer where much else is at work.
        self.process.stdin.write(b'sleep() { command sleep "$((5 * $1))"; }\n')

    def type(self, text, heard=None):
        """The exit code, None if it does not end, and all that was printed."""
        self.count += 1
        script, out = self.scratch / f"{self.count}.sh", self.scratch / f"{self.count}.out"
        script.write_text(text)
        source = "/dev/null"
        if heard is not None:
            source = self.scratch / f"{self.count}.in"
            source.write_text(heard)
        # What has ended is forgotten, as it is at each prompt.
        words = f'jobs >/dev/null; eval "$(cat {script})" >{out} 2>&1 <{source}'
        self.process.stdin.write(f"{words}; echo $? >&{self.writing}\n".encode())
        self.process.stdin.flush()
        ready, _, _ = select.select([self.told], [], [], TIMEOUT_S)
        code = int(os.read(self.told, 16)) if ready else None
        return code, out.read_text(errors="replace")

    def close(self):
        """Ends whatever is left."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.told)
        os.close(self.writing)
        subprocess.run(["./herd.sh", "stop"], cwd=self.folder, capture_output=True)


# ---- typing ----

class Typist:
    def __init__(self, document, tree):
        self.document = document
        self.lines = (ROOT / document).read_text().split("\n")
        self.shell = Shell(tree)
        self.faults, self.skipped, self.elsewhere, self.typed, self.compared = [], [], set(), 0, 0
        self.printed = []

    def complain(self, command, what):
        print(f"not ok: {self.document}:{command.line}: {command.text}\n{what}", flush=True)
        self.faults.append(command)

    def skip(self, command, reason):
        first, *more = command.text.splitlines()
        what = f"{first}{' …' if more else ''}"
        print(f"==== SKIPPED: {self.document}:{command.line}: {what}: {reason}", flush=True)
        self.skipped.append(command)

    def all(self):
        try:
            for key, value, commands in blocks_of(self.lines):
                for command in commands:
                    self.one(key, value, command)
            self.check_nothing_is_left()
        finally:
            self.shell.close()

    def one(self, key, value, command):
        bare = re.sub(r"\s+# .*$", "", command.text)
        place = next((line for pattern, line in ELSEWHERE.items() if re.fullmatch(pattern, bare)),
                     None)
        needed = [tool for tool in TOOLS if re.search(rf"\b{tool} ", bare)]
        needed += value.split() if key == "needs" else []
        lacking = [tool for tool in needed if tool not in FILES and shutil.which(tool) is None]
        if key == "not run":
            self.skip(command, value)
        elif lacking:
            self.skip(command, f"there is no {lacking[0]}")
        elif place:
            self.elsewhere.add(place)
            lines = (ROOT / ".ci/run").read_text().split("\n")
            if place not in (line.strip() for line in lines):
                self.complain(command, f".ci/run has no line `{place}`")
        elif key == "types":
            self.talk(command, [int(word) for word in value.split()])
        else:
            for name in set(needed) & set(FILES):
                self.shell.type(f"[ -e {name} ] || {FILES[name]}")
            self.run(command, value.split() if key == "varies" else [])

    def run(self, command, kinds):
        began = time.monotonic()
        code, printed = self.shell.type(command.text)
        self.typed += 1
        if code is None:
            self.complain(command, f"it does not end; it said:\n{printed}")
            raise SystemExit(f"{self.document}: what comes after it cannot be tested")
        if code != 0:
            self.complain(command, f"it ended with {code} and said:\n{printed}")
        elif command.first < command.last:
            self.compare(command, printed, kinds)
        took = time.monotonic() - began
        print(f"{self.document}:{command.line}: {command.text.splitlines()[0]} ({took:.1f} s)",
              flush=True)

    def compare(self, command, printed, kinds):
        self.compared += 1
        shown = "\n".join(self.lines[command.first:command.last])
        found, wanted = usual(printed, kinds), usual(shown, kinds)
        if found != wanted:
            told = difflib.unified_diff(wanted.split("\n"), found.split("\n"), "shown", "printed",
                                        lineterm="")
            self.complain(command, "\n".join(told))
            self.printed.append((command, printed))

    def talk(self, command, typed):
        """Lines that are typed and others that answer; Ctrl-C ends it."""
        self.typed += 1
        self.compared += 1
        shown = self.lines[command.first:command.last]
        heard = "".join(shown[at - 1] + "\n" for at in typed)
        answers = [line for at, line in enumerate(shown, 1) if at not in typed]
        slowly = f"{{ cat; sleep 3; }} | timeout --signal=INT 2 {command.text}"
        code, printed = self.shell.type(slowly, heard)
        # It never ends by itself.
        if printed.rstrip("\n").split("\n") != answers:
            self.complain(command, f"it ended with {code} and said:\n{printed}")

    def check_nothing_is_left(self):
        left = self.shell.type("jobs -r; ./herd.sh stop")[1].strip()
        if left != "No server is running.":
            self.faults.append(None)
            print(f"not ok: {self.document} leaves something running:\n{left}")

    def rewrite(self):
        for command, printed in reversed(self.printed):
            self.lines[command.first:command.last] = printed.rstrip("\n").split("\n")
        (ROOT / self.document).write_text("\n".join(self.lines))
        print(f"{self.document}: rewrote what {len(self.printed)} commands print")


def usual(text, kinds):
    """The text with a word in the place of each figure that varies; columns get narrow."""
    lines = [line.rstrip() for line in text.strip("\n").split("\n")]
    text = "\n".join(lines)
    # The date last: the pid of a table is known by the date behind it.
    for kind in sorted(kinds, key=lambda kind: kind == "date"):
        text = re.sub(VARIES[kind], kind.upper(), text)
    return re.sub(r"(?<=\S) {2,}", "  ", text) if kinds else text


# ---- commands within sentences ----

def check_sentences(document, shell):
    """What they name exists: commands, flags, experiments, tests and benches."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.S | re.M)
    spans = {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)}
    manifest = (ROOT / "Cargo.toml").read_text()
    faults = []
    for span in sorted(spans):
        program, *words = span.split(" ")
        words = [word for word in words if word not in ("…", "--")]
        if program in ("herd", "target/release/herd") and words and words[0].islower():
            is_sound = is_of_herd(words, shell)
        elif program == "./herd.sh" and words:
            is_sound = re.search(rf"^  {words[0]}\b", shell.type("./herd.sh help")[1], re.M)
        elif program == "cargo" and "--test" in words:
            test = ROOT / "tests" / words[words.index("--test") + 1]
            is_sound = test.with_suffix(".rs").exists() or (test / "main.rs").exists()
        elif program == "cargo" and "--bench" in words:
            is_sound = f'name = "{words[words.index("--bench") + 1]}"' in manifest
        else:
            continue
        if not is_sound:
            faults.append(span)
            print(f"not ok: {document}: `{span}` names what is not there")
    return faults


def check_links(document):
    """What a link within the repository leads to is there: a file, and a heading in it."""
    def leads_nowhere(link):
        place, _, slug = link.partition("#")
        target = (ROOT / document).parent / place if place else ROOT / document
        return not target.exists() or slug and slug not in slugs_of(target)

    links = re.findall(r"\]\(([^)]+)\)", (ROOT / document).read_text())
    faults = [link for link in links if not link.startswith("https:") and leads_nowhere(link)]
    for link in faults:
        print(f"not ok: {document}: the link {link} leads nowhere")
    return faults


def slugs_of(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_of_herd(words, shell):
    depth = 2 if words[0] in ("places", "print", "token", "trace") and len(words) > 1 else 1
    code, help_text = shell.type(f"target/release/herd {' '.join(words[:depth])} --help")
    flags = [word for word in words if re.fullmatch(r"--[a-z-]+", word)]
    experiments = shell.type("target/release/herd lab --list")[1]
    is_known = words[0] != "lab" or all(
        re.search(rf"\b{word}\b", experiments) for word in words[1:] if word[0].islower())
    return code == 0 and is_known and all(flag in help_text for flag in flags)


# ---- the beginning ----

def isolate():
    """Goes on in a network of its own, whose ports are all free, if the system lets us."""
    if os.environ.get("AS_TYPED_ALONE"):
        with socket.socket() as any_socket:
            # SIOCSIFFLAGS: the loopback is up and running.
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
        return
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True) \
        if shutil.which("unshare") else None
    if tried and tried.returncode == 0:
        os.environ["AS_TYPED_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "-rn", sys.executable, __file__, *sys.argv[1:]])
    for port in PORTS:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                raise SystemExit(f"port {port}, which the documents use, is not free: {error}")


def copy_tree(scratch):
    """A fresh clone, but for what is not committed yet, that builds where we build."""
    tree = scratch / "herd"
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT,
                            capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            # With its time, so that cargo knows what it has built.
            shutil.copy2(ROOT / name, tree / name)
    (tree / "target").symlink_to(ROOT / "target")
    return tree


def main():
    parser = argparse.ArgumentParser(description="Types the documents: " + ", ".join(DOCUMENTS) + ".")
    parser.add_argument("--rewrite", action="store_true", help="show what was printed")
    parser.add_argument("documents", nargs="*", default=DOCUMENTS)
    given = parser.parse_args()
    os.environ.setdefault("CARGO_TERM_COLOR", "never")
    if not os.environ.get("AS_TYPED_ALONE"):
        subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=ROOT, check=True)
    isolate()
    with tempfile.TemporaryDirectory() as scratch:
        check_all(given.documents, given.rewrite, Path(scratch))


def check_all(documents, rewrites, scratch):
    faults, told = 0, []
    for document in documents:
        tree = copy_tree(scratch)
        # README builds it by its first command. A document that is typed alone may not.
        if document != "README.md" and not (ROOT / "target/release/herd").exists():
            subprocess.run(["cargo", "build", "--release", "--locked"], cwd=tree, check=True)
        typist = Typist(document, tree)
        try:
            typist.all()
        finally:
            if rewrites:
                typist.rewrite()
        shell = Shell(tree)
        faults += len(typist.faults) + len(check_links(document))
        faults += len(check_sentences(document, shell))
        shell.close()
        told.append(f"{document}: {typist.typed} commands typed, of {typist.compared} the output "
                    f"compared, {len(typist.skipped)} SKIPPED, {len(typist.elsewhere)} lines of "
                    ".ci/run run the rest")
    print("\n".join(told))
    if faults:
        raise SystemExit(f"as typed: {faults} faults")
    print("as typed: all checks passed")


if __name__ == "__main__":
    main()
