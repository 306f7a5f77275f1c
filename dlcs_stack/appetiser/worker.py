"""A worker process: takes jobs from a pipe, one at a time, until the other end closes."""

from __future__ import annotations

import sys
import traceback
from contextlib import ExitStack
from multiprocessing.connection import Connection

from dlcs_stack.appetiser.convert import convert
from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.jobs import Converted, Job, Refused, Weighed
from dlcs_stack.appetiser.source import BYTES_PER_PIXEL, check_memory
from dlcs_stack.limits import be_first_to_be_killed, limited


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the limit is the job's own
    be_first_to_be_killed()
    connection: Connection[object, object] = Connection(int(sys.argv[1]))
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        if not isinstance(job, Job):
            raise TypeError(f"not a job: {job!r}")
        connection.send(_answer(job, connection))


def _answer(job: Job, connection: Connection[object, object]) -> Converted | Refused:
    limits = ExitStack()
    limits.enter_context(limited(0, 0))  # until the header has said how large it is

    def admit(pixels: int) -> None:
        check_memory(pixels, job.pixels_that_fit)
        limits.close()
        connection.send(Weighed(pixels))
        connection.recv()
        limits.enter_context(limited(pixels * BYTES_PER_PIXEL, pixels))

    try:
        with limits:
            return convert(job, admit)
    except ConversionError as error:
        return Refused(str(error))
    except Exception as error:  # noqa: BLE001 (a fault of ours fails the job, not the worker)
        traceback.print_exc()
        return Refused(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
