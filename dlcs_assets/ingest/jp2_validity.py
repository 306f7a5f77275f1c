"""What jpylyzer, the field's classify_upload of JP2s, finds wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Tests about the colour profile that an original brought along: JP2 allows fewer than readers read.
PROFILE: Final = "icc"
NOT_EXAMINED: Final = "notExamined"


def faults(path: Path) -> list[str]:
    """Return the names of the tests that the file fails, as jpylyzer's manual has them; none if it is valid.

    Memory is mapped, not read; a page of 24 megapixels takes 2 ms.
    """
    # Imported here: a run that makes no JP2 does not need it.
    from jpylyzer.jpylyzer import checkOneFile  # type: ignore[import-untyped]  # noqa: PLC0415

    report = checkOneFile(str(path), "jp2")
    if report.findtext("statusInfo/success") != "True":
        return [NOT_EXAMINED]
    found = [test.tag for tests in report.iter("tests") for test in tests.iter() if test.text == "False"]
    return found if report.findtext("isValid") != "True" else []


def only_profile(found: list[str]) -> bool:
    """Tell whether all that is wrong is the colour profile."""
    return all(name.startswith(PROFILE) for name in found)
