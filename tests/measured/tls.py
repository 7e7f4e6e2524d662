"""Handshakes beside plain clients, what one costs, and what the port offers."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time

from faults.herds import TIMEOUT_S, Skipped

from .common import Measured, counted, first_in_line, percentile, thread, verdict

PLAIN = ["-c", 50, "-r", 5_000, "--clients", 10_000]
HANDSHAKES = 500
BATCHES, BATCH = 60, 20
ROUNDS = 5


def served(program):
    """A server with a certificate."""
    if not shutil.which("openssl"):
        raise Skipped("no handshake was measured, for openssl is missing")
    herd = Measured(program, 1, sections='[tls]\ncert = "server.pem"\nkey = "server.pem"\n')
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=herd", "-days", "9",
                    "-keyout", "server.pem", "-out", "cert.pem"],
                   cwd=herd.folder, check=True, capture_output=True)
    pem = herd.folder / "server.pem"
    pem.write_text(pem.read_text() + (herd.folder / "cert.pem").read_text())
    pem.chmod(0o600)
    herd.tls = herd.base + 450
    start = herd.start
    herd.start = lambda name: start(name, flags=[f"--tls-clients=127.0.0.1:{herd.tls}"])
    return herd


def context():
    it = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    it.check_hostname, it.verify_mode = False, ssl.CERT_NONE
    return it


def hello(port, trust, session=None):
    """One client: its session afterwards, and whether it was resumed."""
    raw = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    with trust.wrap_socket(raw, session=session) as client:
        client.sendall(b"IAMAT kiwi +1-1 1\n")
        assert client.recv(4096).startswith(b"AT ")
        return client.session, client.session_reused


def handshakes(program, seconds):
    with served(program) as herd:
        yield from costs(herd)
        rows = {"none": [], f"{HANDSHAKES} a second": [], "a flood": []}
        done = dict.fromkeys(rows, 0)
        for _ in range(ROUNDS):
            for beside, waits in rows.items():
                before = herd.metrics()['herd_tls_handshakes_total{outcome="full"}']
                waits.append(plain_beside(herd, beside, seconds / ROUNDS))
                after = herd.metrics()['herd_tls_handshakes_total{outcome="full"}']
                done[beside] += (after - before) / seconds
        rows = {beside: [percentile(of_kind, 50) for of_kind in zip(*waits)]
                for beside, waits in rows.items()}
        p50_alone, alone = rows.pop("none")
        yield (f"plain p99 at 5,000 requests/s, with a load average of {os.getloadavg()[0]:.1f}",
               f"{alone:.0f} µs; p50 {p50_alone:.0f} µs", "")
        for beside, (p50, p99) in rows.items():
            yield (f"the same beside handshakes: {beside} (were {done[beside]:,.0f} a second)",
                   f"{p99:.0f} µs, {p99 / alone:.2f} ×{verdict(p99, min(2_000, 2 * alone))}; p50 "
                   f"{p50:.0f} µs, {p50 / p50_alone:.2f} ×", "2 × and 2 ms")


def plain_beside(herd, beside, seconds):
    def come(is_over):
        trust, due = context(), time.monotonic()
        while not is_over.is_set():
            hello(herd.tls, trust)
            due += 1 / HANDSHAKES
            time.sleep(max(0, due - time.monotonic()))

    with contextlib.ExitStack() as stack:
        if beside == "a flood":
            flood = ["-c", 200, "--reconnect", "--tls"]
            stack.enter_context(herd.load("Hill", *flood, seconds=3600, port=herd.tls))
        elif beside != "none":
            stack.enter_context(thread(come))
        with first_in_line():
            found = herd.bench("Hill", *PLAIN, seconds=seconds)
    return found["latency_us"]["p50"], found["latency_us"]["p99"]


def costs(herd):
    """Processor time of a server for a handshake: that of a plain connection is taken off. The
    three are taken in turns, and the least of many counts: others that want the processor, and
    leave its caches cold, only add to it."""
    trust = context()
    session, _ = hello(herd.tls, trust)

    def plain():
        with socket.create_connection(("127.0.0.1", herd.port("Hill")), TIMEOUT_S) as client:
            client.sendall(b"IAMAT kiwi +1-1 1\n")
            assert client.recv(4096).startswith(b"AT ")

    def resumed():
        nonlocal session
        session, was_resumed = hello(herd.tls, trust, session)
        assert was_resumed, "a ticket was not taken"

    kinds = {"plain": plain, "full": lambda: hello(herd.tls, trust), "resumed": resumed}
    took = {what: [] for what in kinds}
    for _ in range(BATCHES):
        for what, come in kinds.items():
            before = herd.metrics()["herd_loop_cpu_seconds_total"]
            for _ in range(BATCH):
                come()
            after = herd.metrics()["herd_loop_cpu_seconds_total"]
            took[what].append(1e6 * (after - before) / BATCH)
    for what, most in ("full", 250), ("resumed", 130):
        least, median = (percentile(took[what], percent) - percentile(took["plain"], percent)
                         for percent in (0, 50))
        yield (f"a {what} handshake, processor time of the loop, least of {BATCHES} times {BATCH}",
               f"{least:.0f} µs{verdict(least, most)}; median {median:.0f} µs", f"{most} µs")


# Protocol, ciphers: what nobody may be offered any more, as `openssl s_client` spells it.
REFUSED = [("-ssl3", "ALL"), ("-tls1", "ALL"), ("-tls1_1", "ALL")] + [
    ("-tls1_2", ciphers) for ciphers in
    ("aNULL", "eNULL", "EXPORT", "RC4", "3DES", "DES", "MD5", "SHA1", "kRSA", "CAMELLIA", "ARIA",
     "PSK", "SRP", "kDHE", "SEED", "IDEA")]


def offers(program, seconds):
    """Who wants what is old or weak is refused."""
    with served(program) as herd:
        taken, asked = [], 0
        for protocol, ciphers in REFUSED:
            told = s_client(herd.tls, protocol, "-cipher", f"{ciphers}:@SECLEVEL=0")
            # Some of them this openssl itself does not know any more.
            unknown = "unknown option", "no cipher match", "error with command"
            if any(words in told.lower() for words in unknown):
                continue
            asked += 1
            if "Cipher is (NONE)" not in told and "Cipher    : 0000" not in told:
                taken.append(f"{protocol} {ciphers}")
        yield f"old protocols and weak ciphers that are taken, of {asked}", \
            f"{len(taken)} {' '.join(taken)}{counted(len(taken), 0)}", "0"
        for protocol in "-tls1_2", "-tls1_3":
            told = s_client(herd.tls, protocol)
            is_good = "Cipher is (NONE)" not in told and "Compression: NONE" in told
            yield f"{protocol[1:]} is taken, without compression", said(is_good), "yes"
        told = s_client(herd.tls, "-tls1_2", lines="IAMAT kiwi +1-1 1\nR\nIAMAT kiwi +1-1 2\n")
        is_refused = "RENEGOTIATING" in told and "kiwi +1-1 2" not in told
        yield "a client that wants another handshake is refused", said(is_refused), "yes"
        told = s_client(herd.tls, "-tls1_2")
        is_secure = "Secure Renegotiation IS supported" in told
        yield "secure renegotiation is said to be known", said(is_secure), "yes"


def said(is_so):
    return "yes" if is_so else f"no{counted(1, 0)}"


def s_client(port, *flags, lines=""):
    """What openssl says of a connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *flags]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    # It takes an R for its own only if that comes apart.
    with contextlib.suppress(BrokenPipeError):
        for line in lines.splitlines(keepends=True):
            client.stdin.write(line)
            client.stdin.flush()
            time.sleep(0.3)
    with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
        return client.communicate(timeout=TIMEOUT_S)[0]
    client.kill()
    return client.communicate()[0]
