"""Which instructions of a request are for metrics, counted by valgrind."""

import re
import shutil
import signal
import socket
from collections import defaultdict
from pathlib import Path

from faults.herds import TIMEOUT_S, Skipped, until

from .common import Measured, verdict

ROOT = Path(__file__).resolve().parent.parent.parent
FEW, MANY = 4_096, 20_480
# What is only done to be counted: a line of the source that has one of these.
COUNTS = re.compile(r"counts?\.\w|counters?\.\w|\.observe\(|turn_times|tally|fn (add|note|observe)_?")
FILES = re.compile(r"turn_times\.rs|counters\.rs|metrics|histogram")


def metrics(program, seconds):
    """The share of metrics in a request, by lines of the source."""
    if not shutil.which("valgrind"):
        raise Skipped("instructions of metrics were not counted, for valgrind is missing")
    for pipeline in 1, 16:
        few, many = (counted(program, pipeline, reports) for reports in (FEW, MANY))
        each = {line: (many[line] - few[line]) / (MANY - FEW) for line in many}
        total = sum(each.values())
        ours = {line: count for line, count in each.items() if is_of_metrics(*line)}
        if not any(file.endswith("reactor/inbound.rs") for file, _ in each):
            raise Skipped("instructions of metrics were not counted: the program has no line tables "
                          "(cargo build --profile profiling)")
        share = 100 * sum(ours.values()) / total
        dearest = sorted(ours.items(), key=lambda it: -it[1])[:12]
        told = ", ".join(f"{Path(file).name}:{number} {count:.1f}"
                         for (file, number), count in dearest)
        yield (f"{pipeline} in a write: {total:,.0f} instructions a request, of them for metrics "
               f"({told})", f"{sum(ours.values()):.0f}, {share:.2f} %{verdict(share, 1)}", "1 %")


def is_of_metrics(file, number):
    if not number or "/rustc/" in file:
        return False
    if FILES.search(file):
        return True
    text = source(file)
    return number <= len(text) and bool(COUNTS.search(text[number - 1]))


_sources = {}


def source(file):
    if file not in _sources:
        path = Path(file) if Path(file).is_absolute() else ROOT / file
        is_ours = path.exists() and "/.cargo/" not in str(path)
        _sources[file] = path.read_text().splitlines() if is_ours else []
    return _sources[file]


def counted(program, pipeline, reports):
    """Instructions of each line of the source, in a server's life with so many reports."""
    with Measured(program, 0) as herd:
        herd.names = ("Hill",)
        herd.configure("off")
        out = herd.folder / "callgrind.out"
        herd.start("Hill", before=["valgrind", "--tool=callgrind", "--quiet", "--dump-line=yes",
                                   f"--callgrind-out-file={out}"],
                   flags=["--log-level", "off", "--web", "off", "--mqtt", "off"])
        until("it answers", lambda: herd.status("Hill"), 2 * TIMEOUT_S)
        ask(herd, pipeline, reports)
        herd.running["Hill"].send_signal(signal.SIGTERM)
        herd.running.pop("Hill").wait(2 * TIMEOUT_S)
        return lines_of(out)


def ask(herd, pipeline, reports):
    with socket.create_connection(("127.0.0.1", herd.port("Hill")), TIMEOUT_S) as connection:
        answers = connection.makefile("rb")
        for first in range(0, reports, pipeline):
            some = range(first, first + pipeline)
            connection.sendall(b"".join(b"IAMAT many-%d +34.1-118.4 %d\n" % (it % 1024, 1 + it)
                                        for it in some))
            for _ in some:
                assert answers.readline().startswith(b"AT ")


def lines_of(path):
    """Callgrind's report: what each line itself has cost, without what it has called."""
    names, counts, file, number, is_call = {}, defaultdict(int), "", 0, False
    for line in path.read_text().splitlines():
        head, _, rest = line.partition("=")
        if head in ("fl", "fi", "fe", "cfi", "cfl"):
            # A name is spelled once, and has a number from then on.
            mark, _, name = rest.partition(" ")
            if name:
                names[mark] = name
            if head in ("fl", "fi", "fe"):
                file = names.get(mark, mark)
        elif head == "calls":
            is_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            at, *cost = line.split()
            number = number if at == "*" else number + int(at) if at[0] in "+-" else int(at)
            if not is_call and cost:
                counts[file, number] += int(cost[0])
            is_call = False
    return counts
