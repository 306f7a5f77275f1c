"""A relay that takes its time, as a network does: from a port to a socket of PostgreSQL's, for a bench.

python -m bench.slow_relay --socket PATH --seconds 0.0005
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass everything on in its order, each part so much later; parts may be under way together."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            at, data = await under_way.get()
            await asyncio.sleep(at - loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.ensure_future(deliver())
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            under_way.put_nowait((loop.time() + seconds, data))
    under_way.put_nowait((loop.time() + seconds, b""))
    with suppress(ConnectionError):
        await delivering


async def _serve(socket: Path, seconds: float) -> None:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        of_server, to_server = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_pass_on(reader, to_server, seconds), _pass_on(of_server, writer, seconds))

    listening = await asyncio.start_server(accepted, "127.0.0.1", 0)
    sys.stdout.write(json.dumps({"port": listening.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.slow_relay")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="each way")
    options = parser.parse_args()
    asyncio.run(_serve(options.socket, options.seconds))


if __name__ == "__main__":
    main()
