"""What reading a picture of 100 megapixels takes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dlcs_testing.large_tiff import draw_large_tiff

EDGE = 10_000
_PEAK = r"""
import re, sys
from pathlib import Path
from dlcs_stack.pictures import reading, tiff, vips
path = Path(sys.argv[1])
{work}
# Not ru_maxrss: that begins with what the parent had.
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""
_STRIPS = """
strips = vips.open_tiff(path, tiff.read_tiff(path))
assert sum(strip.height for _, strip in strips.each()) == strips.size[1]
"""
_WHOLE = "reading.decode_flat(path, reading.describe(path))"
_THUMBNAIL = "found = reading.describe(path); reading.decode(path, found, found.reduction_for(0.04))"


def peak_megabytes(work: str, path: Path) -> int:
    command = [sys.executable, "-c", _PEAK.format(work=work), str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module", params=[1, 6], ids=["upright", "turned"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "map.tif"
    draw_large_tiff(path, EDGE, request.param)
    return path


@pytest.mark.parametrize("work", [_STRIPS, _THUMBNAIL], ids=["strips", "thumbnail"])
def test_100_megapixels_are_read_in_150_megabytes(large: Path, work: str) -> None:
    assert peak_megabytes(work, large) <= 150


def test_a_turned_picture_needs_no_second_one(large: Path) -> None:
    """Pillow keeps RGB in four bytes a pixel: 400 MB are the picture itself."""
    assert peak_megabytes(_WHOLE, large) <= 400 + 150
