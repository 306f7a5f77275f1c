"""Serve the pages as a service: python -m dlcs_assets.view [--host HOST] [--port PORT] [--allow-host NAME]."""

from __future__ import annotations

import argparse

from dlcs_assets.settings import Settings
from dlcs_assets.view.app import serve
from dlcs_stack.front_door import add_option


def main() -> None:
    """Serve until a signal comes, with the settings of the environment."""
    parser = argparse.ArgumentParser(prog="python -m dlcs_assets.view")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=3001, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--allow-origin", action="append", default=[], help="origin of viewers that may read manifests; repeatable"
    )
    add_option(parser)
    options = parser.parse_args()
    serve(Settings(), host=options.host, port=options.port, hosts=options.allow_host, viewers=options.allow_origin)


if __name__ == "__main__":
    main()
