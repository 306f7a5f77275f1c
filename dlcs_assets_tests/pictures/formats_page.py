"""Writes docs/formats.md from what two readers make of layouts: python -m dlcs_assets_tests.pictures.formats_page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlcs_assets_tests.pictures.layouts.all_layouts import FAMILIES
from dlcs_assets_tests.pictures.layouts.verdicts import Verdict, verdicts

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"

_RULES = """\
# Which originals are read

Made by `python -m dlcs_assets_tests.pictures.formats_page`: pictures drawn by the tests are stored in many layouts,
and read by the two readers of which each knows nothing of the other. One is of the check, which compares what is made
with the original; the other is of the embedded Appetiser and image server. An original is read if both show its
colours, area by area, as they were drawn; what one of them cannot read right it refuses, in words. There is no third:
a test fails if one of them is wrong without a word.

## Rules

- **Which page.** Of a TIFF with several pages it is the first that is neither marked as a smaller version of another
  nor as a mask; if all are marked, the largest. Of animations and other formats with several pictures it is the first
  one. The metadata say which of how many.
- **Turning.** Orientations 1 to 8 of TIFF's tag, of EXIF, and of XMP where the former say nothing. What is stored
  upright has none.
- **CMYK without a profile.** Each ink leaves its share of the light, and black its own: red is (255 - C)(255 - K) /
  255, and so on. A press's profile would show other colours: embed it. CMYK in JPEG is stored inverted, as Adobe
  does, whether its marker is there or not.
- **Profiles.** An ICC profile is applied, and everything shown in sRGB. One that does not fit the samples, or is
  broken, is ignored.
- **Transparency** is laid on white. A channel that is not said to be opacity is no part of the picture in TIFF.
- **Floating-point samples** go from 0 to 1. Others are refused: nothing says what is white.
- **Signed samples** are refused, but for those of L\\*a\\*b\\*. Of samples with more than 8 bits the first 8 are
  shown.

## How to read the tables

*Embedded*: with `dlcs up`. `image_unsupported` is found before anything is made. `conversion_failed` is Appetiser's
refusal, with those words; with the policy `use-original` the image server refuses with the same ones.

*Cantaloupe*: with Cantaloupe as the image server and the policy `use-original`, by which it reads the original
itself; of JPEG 2000 with any policy, because a JP2 is stored as it is. `image_server_misreads` are the rows of [what
Cantaloupe misreads](image-servers.md#what-cantaloupe-misreads): with the policy `default` such an original is
converted first, and Cantaloupe reads the JP2. *Read*: nothing is known against it. *Left to it*: our readers do not
agree with it or do not know it. In either case the thumbnails are compared with the original, and none is published
that shows something else.

The last column says how many layouts were tried: orders of bytes, strips and tiles, planes, compressions and others
of the kind.
"""


def page(found: dict[str, list[Verdict]]) -> str:
    """Return the page, of the verdicts about each family."""
    return "\n".join([_RULES, *(section(family, found[family]) for family in FAMILIES)])


def section(family: str, found: Sequence[Verdict]) -> str:
    """Return the part of the page that is about a family."""
    return "\n".join([*_table(family, found), ""])


def _table(family: str, found: Sequence[Verdict]) -> Iterator[str]:
    yield f"## {family}"
    yield ""
    yield "| original | embedded | Cantaloupe | layouts |"
    yield "| --- | --- | --- | --- |"
    rows: dict[tuple[str, str, str], list[Verdict]] = {}
    for each in found:
        rows.setdefault((each.layout.subject, _kind_of(each), _by_cantaloupe(family, each)), []).append(each)
    subjects = [subject for subject, _, _ in rows]
    for (subject, _, cantaloupe), members in rows.items():
        items = list(dict.fromkeys(each.layout.item for each in members if each.layout.item))
        is_split = subjects.count(subject) > 1
        named = f"{subject}: {_listed(items)}" if items and (is_split or len(items) < 12) else subject
        yield f"| {named} | {_embedded(members)} | {cantaloupe} | {len(members)} |"


def _kind_of(verdict: Verdict) -> str:
    if verdict.by_check:
        return verdict.by_check.code
    return "conversion_failed" if verdict.by_services else "read"


def _embedded(members: Sequence[Verdict]) -> str:
    kind = _kind_of(members[0])
    if kind == "read":
        return "read"
    reasons: dict[str, str] = {}
    for each in members:
        text = _reason(each)
        general = re.sub(r" \([^)]*\)", "", text)
        key = re.sub(r"\d+", "", general)
        reasons[key] = text if reasons.get(key, text) == text else general
    return f"`{kind}`: {'; '.join(reasons.values())}".replace("*", "\\*").replace("|", "\\|")


def _reason(verdict: Verdict) -> str:
    if verdict.by_check:
        text = verdict.by_check.cause.rpartition("not supported: ")[2]
        return text.removeprefix("The image is ").removesuffix(": that is not supported")
    return re.sub(r"^is a (TIFF|JPEG 2000 file) (with|in) ", "", verdict.by_services or "")


def _by_cantaloupe(family: str, verdict: Verdict) -> str:
    if verdict.by_check:
        return "as embedded"
    row = verdict.misreading
    if row is None:
        return "left to it" if verdict.by_services else "read"
    policy = "" if family == "JPEG 2000" else "; `default`: read"
    what = f"{row.what}: {row.does}".replace("*", "\\*")
    return f"`image_server_misreads`: {what}{policy if not verdict.by_services else ''}"


def _listed(items: Sequence[str]) -> str:
    """Return items in a row; of several that end alike, the end only once."""
    ends = {item.partition(" ")[2] for item in items}
    if len(items) > 1 and len(ends) == 1 and all(item.partition(" ")[0].isdigit() for item in items):
        return f"{', '.join(item.partition(' ')[0] for item in items)} {ends.pop()}"
    return "1 bit" if items == ["1 bits"] else "; ".join(items)


if __name__ == "__main__":
    PAGE.write_text(page({family: verdicts(make()) for family, make in FAMILIES.items()}))
