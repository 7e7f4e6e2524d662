#!/usr/bin/env python3
"""What `herd print alerts` and `herd print dashboard` say, seen by a Prometheus.

First promtool alone: the rules are right, each alert fires where it should, and is silent where it
should be. Then a Prometheus scrapes a herd of three that has clients: it understands each metric,
each rule is evaluated, and each query of the dashboard has data.

Needs Prometheus: as root it is installed by apt, else this is skipped, in words that .ci/run counts.
"""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from net.ports import free_base, free_ports

ROOT = Path(__file__).resolve().parent.parent
HERD = Path(os.environ.get("HERD_BINARY", ROOT / "target/release/herd")).resolve()
SERVERS = ["Hill", "Bona", "Clark"]
BASE_PORT = free_base(len(SERVERS))
PATIENCE = 120


def have_prometheus():
    def there():
        return shutil.which("promtool") and shutil.which("prometheus")

    if not there() and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL)
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", "prometheus"]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(install, stdout=subprocess.DEVNULL, env=environment)
    return there()


def printed(what):
    return subprocess.run([HERD, "print", what], check=True, capture_output=True, text=True).stdout


# ---- the rules, by promtool ----

UP = 'up{job="herd",instance="a"}'


def of(name, labels=""):
    """A series of the server a."""
    return f'{name}{{job="herd",instance="a"{"," if labels else ""}{labels}}}'


def counter(name, fires, silent, labels="", at=25):
    """Two cases of a counter: values as promtool spells them, `start+step` a minute."""
    return [({of(name, labels): fires}, at), ({of(name, labels): silent}, at)]


def histogram(name, slow, quick, edge):
    """Observations that are all above, or all below, a bound."""
    def values(count):
        below = count if count == quick else "0+0x60"
        above = {of(name, f'le="{bound}"'): count for bound in ("60", "+Inf")}
        return above | {of(name, f'le="{edge}"'): below}
    return [(values(slow), 25), (values(quick), 25)]


def pair(one, other, high, low, limit, labels=""):
    """A figure beside its limit."""
    def values(figure):
        return {of(one, labels): f"{figure}x60", of(other, labels): f"{limit}x60"}
    return [(values(high), 25), (values(low), 25)]


def clock(offset, round_trip):
    """How far a peer's clock is off, and how long it took to ask."""
    return {of("herd_peer_clock_offset_seconds", 'peer="Bona"'): f"{offset}x60",
            of("herd_peer_round_trip_seconds", 'peer="Bona"'): f"{round_trip}x60"}


# By alert: where it must fire, and where it must not; series with their values, and the minute.
CASES = {
    "HerdDown": [({UP: "1 1 0x20"}, 8), ({UP: "1 1 0 1x20"}, 8)],
    "HerdNotReady": [
        ({of("herd_ready"): "0x30", of("herd_draining", 'phase="told"'): "0x30"}, 10),
        ({of("herd_ready"): "0x30", of("herd_draining", 'phase="told"'): "1x30"}, 9),
    ],
    "HerdDrainHangs": [
        ({of("herd_draining", 'phase="leaving"'): "1x30"}, 15),
        ({of("herd_draining", 'phase="leaving"'): "1x5"}, 15),
    ],
    "HerdPeerDown": [
        ({of("herd_peer_up", 'peer="Bona"'): "1 0x20"}, 8),
        ({of("herd_peer_up", 'peer="Bona"'): "1 0 1x20"}, 8),
    ],
    "HerdStrangers": counter("herd_connections_refused_total", "0+1x60", "7x60", 'door="peer",reason="wrong_key"'),
    "HerdEngineDown": [
        ({of("herd_engine_state", 'state="up"'): "1 0x20"}, 8),
        ({of("herd_engine_state", 'state="up"'): "1 0 1x20"}, 8),
    ],
    "HerdEngineLies": counter("herd_engine_refused_total", "0+1x60", "7x60", 'reason="seal"'),
    "HerdPeerBehind": [
        ({of("herd_peer_behind", 'peer="Bona"'): "1x30"}, 15),
        ({of("herd_peer_behind", 'peer="Bona"'): "1x5 0 1x9 0x9"}, 25),
    ],
    "HerdRepairsForLong": [
        ({of("herd_reports_repaired_total"): "0+9x120", of("herd_peer_differences_total"): "0+9x120"}, 90),
        ({of("herd_reports_repaired_total"): "0+9x20 180x99", of("herd_peer_differences_total"): "0+9x20 180x99"}, 90),
    ],
    "HerdLinkFlaps": counter("herd_peer_link_losses_total", "0+1x60", "0x20 1x40", 'peer="Bona"', 40),
    "HerdFlaps": [
        ({of("process_start_time_seconds"): "0 1 2 3 4x60"}, 20),
        ({of("process_start_time_seconds"): "0 1x60"}, 20),
    ],
    "HerdSlowTurns": histogram("herd_loop_turn_duration_seconds_bucket", "0+90x60", "0+91x60", "0.01"),
    "HerdLoopSaturated": counter("herd_loop_busy_seconds_total", "0+58x60", "0+40x60"),
    "HerdNearlyFull": pair("herd_connections", "herd_connections_limit", 90, 80, 100, 'door="client"')
    + pair("herd_clients", "herd_clients_limit", 90, 80, 100)
    + pair("herd_store_bytes", "herd_store_bytes_limit", 90, 80, 100)
    + pair("process_open_fds", "process_max_fds", 90, 80, 100),
    "HerdRefusesReports": counter("herd_commands_refused_total", "0+1x60", "7x60", 'reason="full"'),
    "HerdReportsLate": histogram("herd_report_age_seconds_bucket", "0+90x60", "0+91x60", "1"),
    "HerdClockOff": counter("herd_reports_from_future_total", "0+1x60", "9x60")
    + [
        (clock("-1.5", round_trip="0.5"), 25),
        # After a slow round trip it is not known.
        (clock("1.5", round_trip="2"), 25),
    ],
    "HerdCertificateExpires": [
        ({of("herd_tls_certificate_expiry_timestamp_seconds"): "1200000x120"}, 90),
        ({of("herd_tls_certificate_expiry_timestamp_seconds"): "1300000x120"}, 90),
    ],
    "HerdConfigDiffers": [
        ({of("herd_config_hash"): "7x60", 'herd_config_hash{job="herd",instance="b"}': "8x60"}, 25),
        ({of("herd_config_hash"): "7x60", 'herd_config_hash{job="herd",instance="b"}': "7x60"}, 25),
    ],
    "HerdDiverged": [
        ({of("herd_peer_last_even_timestamp_seconds", 'peer="Bona"'): "60x60", of("herd_peer_up", 'peer="Bona"'): "1x60"}, 25),
        ({of("herd_peer_last_even_timestamp_seconds", 'peer="Bona"'): "0+60x60", of("herd_peer_up", 'peer="Bona"'): "1x60"}, 25),
    ],
    "HerdReloadFailed": [
        ({of("herd_config_last_reload_successful"): "0x60"}, 9),
        ({of("herd_config_last_reload_successful"): "1x60"}, 9),
    ],
    "HerdRestartPending": [
        ({of("herd_config_pending_restart"): "2x1500"}, 1450),
        ({of("herd_config_pending_restart"): "0x1500"}, 1450),
    ],
    "HerdLogLinesDropped": counter("herd_log_lines_dropped_total", "0+5x60", "5x60"),
    "HerdPlacesFail": [
        ({of("herd_questions_total", 'outcome="late"'): "0+9x60", of("herd_questions_total", 'outcome="ok"'): "0+1x60"}, 25),
        ({of("herd_questions_total", 'outcome="late"'): "0+1x60", of("herd_questions_total", 'outcome="ok"'): "0+9x60"}, 25),
    ],
    "HerdJournalBroken": [({of("herd_journal_refused"): "1x60"}, 9), ({of("herd_journal_refused"): "0x60"}, 9)],
}


def case_of(alert, series, minute, fires):
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else [],
            }
        ],
    }


def check_rules(scratch):
    rules = scratch / "herd.yaml"
    rules.write_text(printed("alerts"))
    subprocess.run(["promtool", "check", "rules", rules], check=True)
    named = [line.split()[-1] for line in rules.read_text().splitlines() if "- alert:" in line]
    assert sorted(named) == sorted(CASES), f"cases and alerts differ: {set(named) ^ set(CASES)}"
    tests = [
        case_of(alert, series, minute, at % 2 == 0)
        for alert, cases in CASES.items()
        for at, (series, minute) in enumerate(cases)
    ]
    # Whatever is JSON is YAML, too.
    test = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    (scratch / "test.yaml").write_text(json.dumps(test))
    subprocess.run(["promtool", "test", "rules", scratch / "test.yaml"], check=True)
    print(f"{len(named)} alerts: each fires and is silent")
    return rules


# ---- a herd, and a Prometheus that scrapes it ----


def herd_toml():
    links = [[one, other] for one in SERVERS for other in SERVERS if one < other]
    text = f'herd = "watched"\nlinks = {json.dumps(links)}\n'
    for at, name in enumerate(SERVERS):
        text += f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{BASE_PORT + at}"\n'
    return text


def operators(at):
    return f"127.0.0.1:{BASE_PORT + at + 300}"


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def until(what, holds):
    """Asks again and again, also while it cannot be asked."""
    last, end = None, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            last = holds()
            if last is True:
                return
        except OSError as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"never: {what}: {last}")


def speak(over):
    """A client that reports and asks, at each server in turn."""
    said = 0
    while not over.is_set():
        for at in range(len(SERVERS)):
            with socket.create_connection(("127.0.0.1", BASE_PORT + at), timeout=10) as client:
                lines = client.makefile("rb")
                for line in [f"IAMAT c{said % 50} +60.17+24.94 {time.time():.9f}", "WHATSAT c0 10 1", "?"]:
                    client.sendall(line.encode() + b"\n")
                    answer = lines.readline()
                    if line.startswith("WHATSAT") and answer.startswith(b"AT"):
                        while lines.readline() not in (b"\n", b""):
                            pass
                said += 1
        time.sleep(0.02)


def queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "20s")
            yield panel["title"], query.replace("[5m]", "[20s]")


def check_live(scratch, rules):
    (scratch / "herd.toml").write_text(herd_toml())
    targets = [operators(at) for at in range(len(SERVERS))]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "herd", "static_configs": [{"targets": targets}]}],
    }
    (scratch / "prometheus.yaml").write_text(json.dumps(config))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HERD_")}
    running, over = [], threading.Event()
    try:
        for name in SERVERS:
            command = [HERD, "serve", name, "--config", "herd.toml"]
            running.append(subprocess.Popen(command, cwd=scratch, env=environment, stdout=subprocess.DEVNULL))
        for at in range(len(SERVERS)):
            until("it is ready", lambda: "ok" in get(f"http://{operators(at)}/readyz"))
        client = threading.Thread(target=speak, args=(over,), daemon=True)
        client.start()
        own = f"127.0.0.1:{free_ports(1)[0]}"
        command = ["prometheus", f"--config.file={scratch}/prometheus.yaml", f"--web.listen-address={own}"]
        command += [f"--storage.tsdb.path={scratch}/data", "--log.level=warn"]
        running.append(subprocess.Popen(command))
        ask(f"http://{own}/api/v1", json.loads(printed("dashboard")))
    finally:
        over.set()
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=60)


def ask(api, dashboard):
    def results(query):
        answer = json.loads(get(f"{api}/query?" + urllib.parse.urlencode({"query": query})))
        return answer["data"]["result"]

    def has_data(query):
        values = [float(series["value"][1]) for series in results(query)]
        return bool(values) and not all(map(math.isnan, values)) or f"{query} has no data"

    until("all servers are scraped", lambda: len(results('up{job="herd"} == 1')) == len(SERVERS))
    all_queries = list(queries(dashboard))
    for title, query in all_queries:
        until(f"the panel {title!r}", lambda: has_data(query))
    kinds = json.loads(get(f"{api}/metadata"))["data"]
    ours = {name: kinds[name][0]["type"] for name in kinds if name.startswith(("herd_", "process_"))}
    unknown = [name for name, kind in ours.items() if kind == "unknown"]
    assert ours and not unknown, f"Prometheus does not know the types of {unknown}"
    rules = json.loads(get(f"{api}/rules"))["data"]["groups"][0]["rules"]
    sick = {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"}
    assert not sick, f"rules that cannot be evaluated: {sick}"
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    assert not firing, f"a herd that is well raises {firing}"
    series = len(results('{job="herd",instance="' + operators(0) + '"}'))
    print(f"{len(all_queries)} queries have data, {len(ours)} metrics, {series} series of a server")


def main():
    if not have_prometheus():
        print("==== SKIPPED: no alert was tested, for there is no Prometheus: apt-get install prometheus")
        return
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        rules = check_rules(scratch)
        check_live(scratch, rules)


if __name__ == "__main__":
    sys.exit(main())
