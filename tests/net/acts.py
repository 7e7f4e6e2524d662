"""What happens to a herd in a year, one act after the other: `hour.py` plays them."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time

from faults.herds import NAMES, TIMEOUT_S

from .bus import Bus
from .machines import PORT, inside

# The machine before the herd.
FRONT = len(NAMES)
TLS_PORT = PORT + 50
# Twice what each server has if one of five is away, and clients who forget to speak come on top.
CONNECTIONS = 100

# What a busy machine may set off as well, for a second of it is a minute of the rules.
WHEN_BUSY = {"HerdDown", "HerdSlowTurns", "HerdReportsLate", "HerdLoopSaturated"}

ACTS = {}


def act(fires=(), may=(), breaks=True):
    """Something that happens: `fires` must be told by then, `may` need not. If it `breaks` nothing,
    every report of it is answered."""
    def add(play):
        ACTS[play.__name__] = (play, set(fires), set(may) | WHEN_BUSY, breaks)
        return play
    return add


@act(breaks=False)
def calm(hour):
    """Nothing, and the series that are scraped are the same as ever."""
    time.sleep(5)
    series = {name: set(hour.measured(name)) for name in NAMES}
    hour.series = hour.series or series
    assert series == hour.series, "series have come or gone"


# A second without a server, or without its links, is a minute of the rules.
@act(may=["HerdDown", "HerdPeerDown"], breaks=False)
def rolling_restart(hour):
    """All are restarted, one after the other."""
    for name in NAMES:
        os.kill(hour.pid(name), signal.SIGTERM)
        code = hour.running.pop(name).wait(TIMEOUT_S)
        assert code == 0, f"{name} has ended with {code}"
        hour.start(name)
        assert hour.ready(name), f"{name} does not start"
        hour.until_ready(name)
        # Until the proxy has seen it.
        time.sleep(1)


@act(breaks=False)
def new_key(hour):
    """The herd has another key, and no link is lost for that."""
    before = hour.losses()
    told = hour.ask("keygen", "--rotate", "herd.key")
    assert told.returncode == 0, told.stderr
    hour.reload(*NAMES)
    time.sleep(3)
    assert hour.losses() == before, "a link was lost"


@act(fires=["HerdReloadFailed"], breaks=False)
def wrong_settings(hour):
    """A file that is wrong changes nothing."""
    with hour.changed(lambda text: text + "nonsense = 1\n"):
        hour.reload("Hill", "Singleton", code=78)
        hour.until_firing()
    hour.reload("Hill", "Singleton")


@act(fires=["HerdConfigDiffers"], breaks=False)
def forgotten_reload(hour):
    """One server alone has heard of a change."""
    with hour.changed(lambda text: text.replace('compare_every = "1 s"', 'compare_every = "2 s"')):
        hour.reload("Hill")
        hour.until_firing()
    hour.reload("Hill")


@act(fires=["HerdNearlyFull"], breaks=False)
def silent_crowd(hour):
    """Somebody opens connections and says nothing."""
    open_now = hour.measured("Hill")['herd_connections{door="client"}']
    with contextlib.ExitStack() as stack:
        for _ in range(int(CONNECTIONS * 0.95 - open_now)):
            stack.callback(hour.connect("Hill").close)
        hour.until_firing()


@act(fires=["HerdDown", "HerdPeerDown"], may=["HerdReportsLate", "HerdNearlyFull"])
def cut_off(hour):
    """A machine is away, and goes on all the same."""
    hour.isolate("Smith")
    hour.until_firing()
    hour.isolate("Smith", order="join")


@act(fires=["HerdPeerDown"], may=["HerdReportsLate", "HerdRepairsForLong"])
def halves(hour):
    """The herd falls apart, and both halves have clients."""
    others = "Smith", "Campbell", "Singleton"
    for name in "Hill", "Jaquez":
        hour.cut_off(name, others)
    hour.until_firing()
    for name in "Hill", "Jaquez":
        hour.cut_off(name, others, order="join")


@act(fires=["HerdJournalBroken", "HerdNotReady", "HerdRefusesReports"])
def full_disk(hour):
    """The disk of a journal is full, and then has room again."""
    with hour.filled("journal/Jaquez"):
        hour.until_firing("HerdJournalBroken", "HerdNotReady")
        # The proxy sends nobody there any more.
        client = hour.connect("Jaquez")
        hour.until_firing(meanwhile=client.insist)
        client.close()
    hour.until_ready("Jaquez")


@act(fires=["HerdClockOff"],
     may=["HerdDiverged", "HerdReportsLate", "HerdRepairsForLong", "HerdRefusesReports"])
def wrong_clock(hour):
    """A clock is a day behind, then ahead, then right. What was heard while it was ahead stays so, and
    so does what comes until its time is there: a day would be too long for this."""
    for offset in "-1d", "+20s":
        hour.set_clock(offset)
        hour.until_firing()
        time.sleep(35)
    hour.set_clock("+0")


@act(fires=["HerdLogLinesDropped"])
def full_log(hour):
    """The disk of the log is full, and somebody wants every line in it."""
    told = hour.ask("log-level", "Hill", "traffic", "--for", "1min", "--config", "herd.toml")
    assert told.returncode == 0, told.stderr
    client = hour.connect("Hill")
    with hour.filled("log"):
        hour.until_firing(meanwhile=lambda: client.fill(1000))
    client.close()
    # A flood may be next.
    told = hour.ask("log-level", "Hill", "info", "--config", "herd.toml")
    assert told.returncode == 0, told.stderr


@act(fires=["HerdReportsLate"], may=["HerdPeerDown", "HerdRepairsForLong", "HerdClockOff"])
def slow_network(hour):
    """Each way to one machine takes a second and more."""
    machine = NAMES.index("Campbell")
    for other in range(len(NAMES)):
        if other != machine:
            hour.order("delay", machine, other, 1200)
    hour.until_firing()
    for other in range(len(NAMES)):
        if other != machine:
            hour.order("delay", machine, other, 0)


@act(fires=["HerdLinkFlaps"], may=["HerdPeerDown", "HerdReportsLate", "HerdRepairsForLong"])
def bad_cable(hour):
    """A machine comes and goes."""
    for _ in range(8):
        for order, moment in ("cut", 4), ("join", 2):
            hour.cut_off("Singleton", order=order)
            time.sleep(moment)
    hour.until_firing()


@act(fires=["HerdFlaps"], may=["HerdDown", "HerdPeerDown", "HerdNotReady", "HerdLinkFlaps"])
def dies_again(hour):
    """A server dies, again and again."""
    for _ in range(5):
        hour.kill("Hill")
        hour.start("Hill")
        assert hour.ready("Hill"), "it does not start"
        hour.until_ready("Hill")
        time.sleep(2)
    hour.until_firing()


# How busy the loop is then, depends on how much of the machine is left for the flood.
@act(may=["HerdPeerBehind", "HerdPeerDown", "HerdRepairsForLong", "HerdNearlyFull", "HerdNotReady"])
def flood(hour):
    """Somebody reports as fast as a server answers."""
    command = ["ip", "netns", "exec", hour.namespaces[0], hour.program, "bench", "--connect",
               f"{hour.addresses[0]}:{PORT}", "-c", "8", "-p", "64", "-s", "15", "--clients", "1000",
               "--json"]
    load = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(load.stdout)["errors_total"] == 0, load.stdout


@act(fires=["HerdCertificateExpires"], breaks=False)
def old_certificate(hour):
    """A certificate is about to expire, and then there is a new one."""
    make_certificate(hour.folder, days=7)
    hour.reload(*NAMES)
    hour.until_firing()
    new = make_certificate(hour.folder, days=400)
    hour.reload(*NAMES)
    for machine, name in enumerate(NAMES):
        # From the front, the head of a proxy would have to come first.
        with inside(hour.namespaces[machine]):
            shown = ssl.get_server_certificate((hour.addresses[machine], TLS_PORT))
        assert shown.strip() in new, f"{name} shows another certificate"


@act(fires=["HerdStrangers"], breaks=False)
def strangers(hour):
    """Somebody knocks where peers come in, and has nothing to show."""
    def knock():
        with inside(hour.namespaces[0]):
            caller = socket.create_connection((hour.addresses[0], PORT + 100), timeout=TIMEOUT_S)
        with caller:
            caller.sendall(b"hello\n")
            caller.recv(4096)

    hour.until_firing(meanwhile=knock)


@act(fires=["HerdRestartPending"], may=["HerdConfigDiffers"], breaks=False)
def forgotten_restart(hour):
    """A setting has changed that wants a restart, and nobody restarts."""
    with hour.changed(lambda text: text.replace("[log]\n", '[log]\nsize_max = "2 GB"\n')):
        hour.reload(*NAMES)
        hour.until_firing()
    hour.reload(*NAMES)


@act(fires=["HerdDrainHangs"], may=["HerdConfigDiffers", "HerdDown", "HerdPeerDown"], breaks=False)
def long_farewell(hour):
    """A server that was told to stop gives its clients more time than an operator expects."""
    longer = ['lame_duck = "3 s"', 'lame_duck = "40 s"']
    with hour.changed(lambda text: text.replace(*longer)), contextlib.ExitStack() as stack:
        hour.reload("Hill")
        # Each has its turn to be told, and the last one's is late.
        for _ in range(20):
            stack.callback(hour.connect("Hill").close)
        os.kill(hour.pid("Hill"), signal.SIGTERM)
        hour.until_firing()
        code = hour.running.pop("Hill").wait(TIMEOUT_S)
        assert code == 0, f"Hill has ended with {code}"
    hour.start("Hill")
    assert hour.ready("Hill"), "Hill does not start"
    hour.until_ready("Hill")


@act(fires=["HerdPlacesFail"], may=["HerdConfigDiffers"], breaks=False)
def no_places(hour):
    """The service of places is not there."""
    nowhere = 'source = "overpass"\nurl = "http://127.0.0.1:9/"'
    client = hour.connect("Hill")
    with hour.changed(lambda text: text.replace('source = "file"\nfile = "places.csv"', nowhere)):
        hour.reload("Hill")
        hour.until_firing(meanwhile=lambda: client.knows("client-1"))
    hour.reload("Hill")
    client.close()


@act(fires=["HerdEngineDown", "HerdEngineLies"], breaks=False)
def another_herd(hour):
    """Two servers are on an engine, to which somebody else tells lies, and which then dies."""
    with Bus(hour.program, hour.namespaces[FRONT], hour.folder) as bus:
        with hour.front.watching(bus.targets):
            hour.until_firing("HerdEngineLies", meanwhile=lambda: bus.lie(1))
            bus.kill_node()
            hour.until_firing("HerdEngineDown")
            bus.start_node()
            bus.until_up()


def make_certificate(folder, days):
    """Puts a certificate with its key where servers look for it. Gives its text."""
    new = folder / "new.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=herd", "-days", str(days),
                    "-keyout", new, "-out", folder / "cert.pem"], check=True, capture_output=True)
    with open(new, "a") as file:
        file.write((folder / "cert.pem").read_text())
    new.chmod(0o600)
    new.rename(folder / "server.pem")
    return (folder / "cert.pem").read_text()
