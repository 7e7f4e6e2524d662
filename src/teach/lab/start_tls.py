"""STARTTLS: bytes that lie in the reader's buffer stay there while TLS goes around the socket."""

import asyncio
import ssl
import time
import tracemalloc

CONNECTIONS = 50


def context(side):
    """Without a certificate, so that none has to be made: TLS 1.2 with anonymous keys."""
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("aNULL:@SECLEVEL=0")
    return made


SERVER, CLIENT = context(ssl.PROTOCOL_TLS_SERVER), context(ssl.PROTOCOL_TLS_CLIENT)


async def upgrade(reader, writer):
    """A line that asks for TLS, then TLS, then lines: as mail servers and databases have it."""
    assert await reader.readline() == b"STARTTLS\n"
    writer.write(b"OK\n")
    await writer.start_tls(SERVER)
    line = await reader.readline()
    writer.write(b"by TLS you said: " + line)
    await writer.drain()


async def inject(port):
    """Somebody on the way has put a line of his own behind the plain one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"STARTTLS\nIAMAT victim +0+0 1\n")
    assert await reader.readline() == b"OK\n"
    await writer.start_tls(CLIENT)
    writer.write(b"IAMAT me +1+1 2\n")
    heard = await asyncio.wait_for(reader.readline(), 5)
    can_half_close = writer.can_write_eof()
    writer.close()
    return heard.decode().removeprefix("by TLS you said: ").strip(), can_half_close


async def tick(pauses):
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        pauses.append(now - last)
        last = now


async def crowd(port):
    """The longest pause of a ticker while many shake hands, and what each end then keeps."""
    pauses = []
    ticker = asyncio.create_task(tick(pauses))
    await asyncio.sleep(0.05)
    pauses.clear()
    tracemalloc.start()
    opening = (asyncio.open_connection("127.0.0.1", port, ssl=CLIENT) for _ in range(CONNECTIONS))
    pairs = await asyncio.gather(*opening)
    ticker.cancel()
    kept = tracemalloc.get_traced_memory()[0] / (2 * CONNECTIONS)
    tracemalloc.stop()
    for _, writer in pairs:
        writer.transport.abort()
    return max(pauses), kept


async def main():
    server = await asyncio.start_server(upgrade, "127.0.0.1", 0)
    line, can_half_close = await inject(server.sockets[0].getsockname()[1])
    server.close()
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=SERVER)
    pause, kept = await crowd(silent.sockets[0].getsockname()[1])
    silent.close()
    print("first line that came by TLS", "IAMAT me", " ".join(line.split()[:2]), sep="\t")
    print("the client may half-close", "yes", "yes" if can_half_close else "no", sep="\t")
    print("kept by an end that is idle", "3 KiB", f"{kept / 1024:.0f} KiB", sep="\t")
    print(f"longest pause beside {CONNECTIONS} handshakes", "1 ms", f"{pause * 1000:.0f} ms", sep="\t")
    if line.startswith("IAMAT me"):
        raise SystemExit("what was said before TLS was forgotten")
    if can_half_close or kept < 100 * 1024:
        raise SystemExit("TLS has become lighter")


asyncio.run(main())
