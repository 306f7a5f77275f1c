"""What a search by coverage found on its way is read, or refused as it should be, in every run of the tests."""

from __future__ import annotations

import pytest

from dlcs_assets_tests.fuzz.guided import CORPUS
from dlcs_assets_tests.fuzz.readers import READERS

KEPT = [path for reader in READERS for path in sorted((CORPUS / reader).iterdir())]


@pytest.mark.parametrize("reader", READERS)
def test_all_that_was_kept_is_read_or_refused(reader: str) -> None:
    kept = [path for path in KEPT if path.parent.name == reader]
    assert kept
    for data in [*(path.read_bytes() for path in kept), *READERS[reader].seeds]:
        READERS[reader].read(data)
