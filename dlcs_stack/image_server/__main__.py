"""The image server's command line: python -m dlcs_stack.image_server --port 8182 --s3-endpoint URL."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from dlcs_stack.front_door import add_option
from dlcs_stack.image_server.config import Config


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    # Every worker process imports this module again, and serves nothing.
    import uvicorn  # noqa: PLC0415 (see above)

    from dlcs_stack.image_server.app import create_app  # noqa: PLC0415 (see above)

    options = _parser().parse_args(arguments)
    config = Config(
        s3_endpoint=options.s3_endpoint,
        path_roots=tuple(options.path_root),
        hosts=tuple(options.allow_host),
        viewers=tuple(options.allow_origin),
        max_pixels=options.max_pixels,
        max_scale=options.max_scale,
        max_source_pixels=options.max_source_pixels,
        workers=options.workers,
        request_log=options.request_log,
        like_cantaloupe=options.like == "cantaloupe-5.0.6",
        jp2_decoder=not options.without_jp2_decoder,
        caching=options.caching,
    )
    uvicorn.run(create_app(config), host=options.host, port=options.port, log_level="info", access_log=False)


def _parser() -> argparse.ArgumentParser:
    default = Config()
    parser = argparse.ArgumentParser(prog="image_server", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8182, help="port to listen on (default: %(default)s)")
    add(
        "--s3-endpoint",
        default=os.environ.get("AWS_ENDPOINT_URL") or None,
        help="default: AWS_ENDPOINT_URL, else AWS itself",
    )
    add("--path-root", type=Path, action="append", default=[], help="folder whose files may be served; repeatable")
    add("--max-pixels", type=int, default=default.max_pixels, help="pixels of a result; 0: no limit")
    add("--max-scale", type=float, default=default.max_scale, help="scale of a result; 0: no limit, 1: no enlarging")
    add("--max-source-pixels", type=int, default=default.max_source_pixels, help="pixels of a source; 0: no limit")
    add("--workers", type=int, default=default.workers, help="decoding processes (default: %(default)s)")
    add("--request-log", type=Path, help="file that gets a line of JSON for each request")
    add_option(parser)
    add("--allow-origin", action="append", default=[], help="origin of pages that may show its pictures; repeatable")
    for_tests = parser.add_argument_group("for tests of its clients")
    add = for_tests.add_argument
    add("--like", choices=["cantaloupe-5.0.6"], help="read, refuse and fail as this server does")
    add("--without-jp2-decoder", action="store_true", help="as Cantaloupe whose opj_decompress is missing")
    add("--caching", action="store_true", help="as Cantaloupe with all caches on")
    return parser


if __name__ == "__main__":
    main()
