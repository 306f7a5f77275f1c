"""`python -m dlcs_stack.appetiser`: the service as a process."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from dlcs_stack.appetiser.app import AppetiserConfig, create_app
from dlcs_stack.front_door import add_option


def main() -> None:
    """Serve until a signal stops it."""
    defaults = AppetiserConfig()
    parser = argparse.ArgumentParser(prog="appetiser", description="Converts images to JP2 and makes thumbnails.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes; default: one for each CPU")
    parser.add_argument("--roots", type=Path, nargs="+", default=[], help="folders outside of which nothing is touched")
    parser.add_argument("--max-pixels", type=int, default=defaults.max_pixels, help="largest image (width x height)")
    parser.add_argument("--faults", action="store_true", help="do as Appetiser 2.1.0 itself does, for tests")
    parser.add_argument(
        "--broken-encoder", action="store_true", help="with --faults: answer /ping, and convert nothing"
    )
    add_option(parser)
    asked = parser.parse_args()
    config = AppetiserConfig(
        roots=tuple(asked.roots),
        hosts=tuple(asked.allow_host),
        workers=asked.workers,
        max_pixels=asked.max_pixels,
        faults=asked.faults,
        broken_encoder=asked.broken_encoder,
    )
    uvicorn.run(create_app(config), host=asked.host, port=asked.port, timeout_graceful_shutdown=10)


if __name__ == "__main__":
    main()
