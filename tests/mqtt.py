#!/usr/bin/env python3
"""Clients of MQTT that are not ours: run it as `tests/mqtt.py [--herd PROGRAM]`.

Goal: mosquitto_pub, mosquitto_sub and paho-mqtt report to one server and hear of it from another,
with access configured and without. Method: a herd of two on ports of its own.

It needs mosquitto-clients and paho-mqtt, and says so for each that is missing.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from net.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 60
TOML = """herd = "mqtt"
open = true
links = [["A", "B"]]
"""


class Herd:
    """Two servers, A and B."""

    def __init__(self, program, folder, flags=()):
        self.program, self.folder, self.mqtt = program, Path(folder), {}
        text = TOML
        for name in "AB":
            clients, peers, mqtt = free_ports(3)
            self.mqtt[name] = mqtt
            text += (
                f'[[server]]\nname = "{name}"\nclients = "127.0.0.1:{clients}"\n'
                f'peers = "127.0.0.1:{peers}"\nmqtt = "127.0.0.1:{mqtt}"\n'
                'web = "off"\noperators = "off"\n'
            )
        (self.folder / "herd.toml").write_text(text)
        self.servers = [self.start(name, flags) for name in "AB"]

    def start(self, name, flags):
        command = [self.program, "serve", name, "--config", "herd.toml", "--places", "google-legacy"]
        command += ["--places-url", "http://127.0.0.1:9", *flags]
        server = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.mqtt[name]), 1).close()
                return server
            except OSError:
                assert server.poll() is None, f"{name} has ended"
                time.sleep(0.02)
        raise AssertionError(f"{name} does not listen")

    def stop(self):
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            assert server.wait(TIMEOUT_S) == 0, "it ends in good order"


def position(latitude):
    return json.dumps({"_type": "location", "lat": latitude, "lon": 24.9384})


def mosquitto(herd, user):
    """One message by mosquitto_pub at each QoS, heard by mosquitto_sub: retained, then new."""
    who = ["-u", user[0], "-P", user[1]] if user else []

    def publish(latitude, qos):
        topic = ["-t", "owntracks/jane/phone", "-m", position(latitude)]
        where = ["-h", "127.0.0.1", "-p", str(herd.mqtt["A"]), "-q", str(qos)]
        subprocess.run(["mosquitto_pub", *where, *who, *topic], check=True, timeout=TIMEOUT_S)

    publish(60.5, 1)
    where = ["-h", "127.0.0.1", "-p", str(herd.mqtt["B"]), "-q", "1", "-W", str(TIMEOUT_S)]
    command = ["mosquitto_sub", *where, *who, "-t", "owntracks/+/+", "-F", "%r %t %p"]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for number, (qos, latitude) in enumerate([(1, 60.5), (0, 60.6), (1, 60.7), (2, 60.8)]):
        if number:
            publish(latitude, qos)
        while True:
            line = listener.stdout.readline()
            assert line, "mosquitto_sub has ended"
            retained, topic, payload = line.split(" ", 2)
            assert topic == "owntracks/jane/phone", line
            # The first may still be on its way to the other server.
            if json.loads(payload)["lat"] == latitude:
                break
    listener.terminate()
    listener.wait()
    again = subprocess.run([*command, "-C", "1"], capture_output=True, text=True, check=True)
    assert again.stdout.startswith("1 owntracks/jane/phone "), again.stdout


def refused(herd):
    """Who shows nothing or something wrong is not let in."""
    for who, why in [([], "not authorised"), (["-u", "jane", "-P", "x"], "user name or password")]:
        where = ["-h", "127.0.0.1", "-p", str(herd.mqtt["A"]), "-t", "owntracks/a/b", "-m", "x"]
        done = subprocess.run(["mosquitto_pub", *where, *who], capture_output=True, text=True)
        assert done.returncode != 0 and why in done.stderr.lower(), done


def paho(herd, user):
    """Two clients of paho: what one publishes, the other hears; one that breaks off has a will."""
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    heard, changed = {}, threading.Condition()

    def on_message(_client, _data, message):
        with changed:
            heard[message.topic] = json.loads(message.payload)["lat"]
            changed.notify_all()

    def connected(server, name):
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        if user:
            client.username_pw_set(*user)
        client.on_message = on_message
        client.will_set(f"owntracks/jane/{name}", position(1.5), qos=1)
        client.connect("127.0.0.1", herd.mqtt[server], keepalive=30)
        client.loop_start()
        return client

    def until(topic, latitude):
        with changed:
            is_so = changed.wait_for(lambda: heard.get(topic) == latitude, TIMEOUT_S)
        assert is_so, f"{topic} is {heard.get(topic)}, not {latitude}"

    listener, speaker = connected("B", "ear"), connected("A", "mouth")
    listener.subscribe([("owntracks/jane/#", 2)])
    for qos in (0, 1, 2):
        latitude = 50.5 + qos
        message = speaker.publish("owntracks/jane/mouth", position(latitude), qos=qos, retain=True)
        message.wait_for_publish(TIMEOUT_S)
        assert message.is_published()
        until("owntracks/jane/mouth", latitude)
    speaker.loop_stop()
    speaker.socket().shutdown(socket.SHUT_RDWR)
    until("owntracks/jane/mouth", 1.5)
    listener.disconnect()
    listener.loop_stop()


def run(program, part, user=None, flags=()):
    with tempfile.TemporaryDirectory() as folder:
        if user:
            add = [program, "token", "add", "jane", "--report", "jane/*", "--read", "*"]
            secret = subprocess.run(add, cwd=folder, capture_output=True, text=True, check=True)
            user = ("jane", secret.stdout.strip())
            flags = ["--access", "access.toml"]
        herd = Herd(program, folder, flags)
        try:
            part(herd, user)
            if user and part is mosquitto:
                refused(herd)
        finally:
            herd.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--herd", default=ROOT / "target/release/herd")
    program = str(Path(parser.parse_args().herd).resolve())
    for variable in [name for name in os.environ if name.startswith("HERD_")]:
        del os.environ[variable]
    parts = []
    if shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub"):
        parts.append(mosquitto)
    else:
        print("\n==== SKIPPED: no mosquitto came: apt-get install mosquitto-clients")
    try:
        from paho.mqtt import enums  # noqa: F401

        parts.append(paho)
    except ImportError:
        print("\n==== SKIPPED: no paho came: python3 -m pip install 'paho-mqtt>=2'")
    for part in parts:
        for user in (None, "jane"):
            started = time.monotonic()
            run(program, part, user)
            who = "with a token" if user else "without access"
            print(f"{part.__name__} {who}: {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
