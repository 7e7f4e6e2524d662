"""A headless Chromium for tests, and what they need to run a herd beside it.

It needs nothing beside the standard library: Chromium's DevTools protocol is JSON over two pipes.
"""

import base64
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# Generous: a machine may be busy. Only what never comes takes so long.
TIMEOUT_S = 60
# What is kept of what the browser tells: what it asks for, and how much of that has come.
KEPT = "Network.requestWillBeSent", "Network.loadingFinished"


@contextlib.contextmanager
def running(commands, folder):
    """Processes that are ended by SIGTERM, and have ended, when the block has."""
    servers = []
    try:
        for at, command in enumerate(commands):
            with open(folder / f"{at}.out", "wb") as out:
                servers.append(subprocess.Popen(command, stdout=out, stderr=out))
        yield servers
    except BaseException:
        for out in sorted(folder.glob("*.out")):
            print(out.read_text(), file=sys.stderr)
        raise
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
        for server in servers:
            server.wait(TIMEOUT_S)


def until(what, look):
    """What `look` finds, which looks again and again until it is not nothing."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if found := look():
                return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


def say(port, text):
    """What a server answers until it hangs up, after we have said all."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as client:
        client.sendall(text.encode())
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(functools.partial(client.recv, 65536), b"")).decode()


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, program, folder):
        # Chromium reads at its descriptor 3 and writes at 4.
        (its_in, self.to), (self.back, its_out) = os.pipe(), os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe",
                 f"--user-data-dir={folder}/browser", "about:blank"]
        words = f'exec "$0" "$@" 3<&{its_in} 4>&{its_out}'
        with open(folder / "browser.out", "wb") as out:
            self.program = subprocess.Popen(["bash", "-c", words, program, *flags], stdout=out,
                                            stderr=out, pass_fds=(its_in, its_out))
        os.close(its_in)
        os.close(its_out)
        self.unread, self.count, self.session = b"", 0, {}
        self.complaints, self.events = [], []
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ["Page", "Runtime", "Log", "DOM"]:
            self.call(f"{domain}.enable")
        self.resize(1280, 800)

    def close(self):
        self.session = {}
        self.call("Browser.close")
        self.program.wait(TIMEOUT_S)

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params, **self.session}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (heard := self.hear()).get("id") != self.count:
            if heard.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(heard["params"])
            if heard.get("method") in KEPT:
                self.events.append((heard["method"], heard["params"]))
        assert "error" not in heard, (method, heard)
        return heard["result"]

    def hear(self):
        while b"\0" not in self.unread:
            read = os.read(self.back, 1 << 20)
            assert read, "the browser has gone"
            self.unread += read
        message, self.unread = self.unread.split(b"\0", 1)
        return json.loads(message)

    def ask(self, script):
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, (script, found)
        return found["result"].get("value")

    def open(self, path, words=""):
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=f"file://{path}{words}")
        until(f"{path} is open", lambda: self.ask(
            "location.protocol === 'file:' && document.readyState === 'complete'"))

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def prefer(self, theme):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def press(self, *keys):
        for key in keys:
            # A button is pressed by what the key would write.
            text = {"Enter": "\r"}.get(key, "")
            for kind in ["keyDown", "keyUp"]:
                self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text)

    def choose_files(self, *paths):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def text(self, selector):
        return self.ask(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def picture(self, path):
        image = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(image))
