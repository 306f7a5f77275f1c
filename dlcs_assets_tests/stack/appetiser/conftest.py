from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_testing.appetiser_service import Appetiser, served


@pytest.fixture(scope="session")
def appetiser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appetiser]:
    """The service as it is without Kakadu, whatever this machine's PATH holds."""
    with ExitStack() as serving:
        with pytest.MonkeyPatch.context() as patch:  # for the start only: other tests need what is on the PATH
            patch.setenv("PATH", str(tmp_path_factory.mktemp("empty-path")))
            service = serving.enter_context(served(AppetiserConfig(workers=2, max_pixels=4_000_000)))
        yield service


@pytest.fixture
def thumb_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "thumbs"
    folder.mkdir()
    return folder
