"""Bombs given to the embedded services themselves: they answer, stay within their memory, and serve the next image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.image_server.config import Config
from dlcs_testing.appetiser_service import Appetiser, served
from dlcs_testing.bombs import Bomb, bombs
from dlcs_testing.image_server_service import listening
from dlcs_testing.memory import MemoryWatch
from dlcs_testing.pictures import jpeg

LIMIT = 5_000_000  # more is a conversion like any other, and takes its time
BOMBS = [bomb for bomb in bombs() if not bomb.encoding]
MEGABYTES = 400


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Bomb]:
    folder = tmp_path_factory.mktemp("bombs")
    drawn = {folder / str(number): bomb for number, bomb in enumerate(BOMBS)}
    for path, bomb in drawn.items():
        path.write_bytes(bomb.draw())
    (folder / "good.jpg").write_bytes(jpeg(60, 40))
    return drawn


@pytest.fixture(scope="module")
def appetiser() -> Iterator[Appetiser]:
    with served(AppetiserConfig(workers=1, max_pixels=LIMIT)) as service:
        yield service


def test_appetiser_answers_each_bomb_within_its_memory(
    appetiser: Appetiser, files: dict[Path, Bomb], tmp_path: Path
) -> None:
    found = {}
    with MemoryWatch(["dlcs_stack.appetiser.worker"]) as watch:
        for path, bomb in files.items():
            answer = appetiser.convert(path, tmp_path / "made.jp2")
            found[bomb.name] = (answer.status, answer.body.get("detail", ""))
    good = next(iter(files)).parent / "good.jpg"
    assert appetiser.convert(good, tmp_path / "good.jp2").size == (60, 40)
    assert {name: said for name, said in found.items() if said[0] != 200 and not said[1].endswith(".")} == {}
    assert not [name for name, (_, said) in found.items() if "died" in said]
    assert watch.peak_megabytes < MEGABYTES


def asked(path: Path) -> str:
    return f"/iiif/3/{quote(str(path), safe='')}/full/20,/0/default.jpg"


def test_the_image_server_answers_each_bomb_within_its_memory(files: dict[Path, Bomb]) -> None:
    folder = next(iter(files)).parent
    config = Config(workers=1, max_source_pixels=LIMIT, path_roots=(folder,))
    found = {}
    with (
        MemoryWatch(["dlcs_stack.image_server.rendering"]) as watch,
        listening(config) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for path, bomb in files.items():
            found[bomb.name] = client.get(
                f"/iiif/3/{quote(str(path), safe='')}/full/!100,100/0/default.jpg"
            ).status_code
        good = client.get(f"/iiif/3/{quote(str(folder / 'good.jpg'), safe='')}/full/!30,30/0/default.jpg")
    assert good.status_code == 200
    assert {name: status for name, status in found.items() if status not in {200, 400, 403, 501}} == {}
    assert watch.peak_megabytes < MEGABYTES
