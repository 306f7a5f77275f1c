"""What a search by coverage found on its way is read, or refused as it should be, in every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.picture_limits import PictureLimits
from dlcs_assets.pictures.processes import PictureReader
from dlcs_assets.pictures.tasks import read_original
from dlcs_assets_tests.fuzz.guided import CORPUS
from dlcs_assets_tests.fuzz.readers import READERS
from dlcs_testing.pictures import jpeg

DEADLY = CORPUS.with_name("deadly")

KEPT = [path for reader in READERS for path in sorted((CORPUS / reader).iterdir())]


@pytest.mark.parametrize("reader", READERS)
def test_all_that_was_kept_is_read_or_refused(reader: str) -> None:
    kept = [path for path in KEPT if path.parent.name == reader]
    assert kept
    for data in [*(path.read_bytes() for path in kept), *READERS[reader].seeds]:
        READERS[reader].read(data)


@pytest.mark.parametrize("deadly", sorted(DEADLY.iterdir()), ids=lambda path: path.name)
def test_what_kills_a_decoder_costs_that_picture(deadly: Path, tmp_path: Path) -> None:
    """Found by the search: a library ends its process. A run reads in other processes than its own."""
    reader = PictureReader(PictureLimits(), tmp_path / "budget")
    with pytest.raises(PermanentError) as caught:
        reader.run(read_original, deadly)
    assert caught.value.code in {"decoder_died", "image_unreadable"}  # as the library's version decides
    good = tmp_path / "good.jpg"
    good.write_bytes(jpeg(60, 40))
    assert reader.run(read_original, good).header.width == 60
