"""The recipe of what an engine owes the DLCS's database (`ingest-writes.sql`), with the values of a test in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dlcs_testing.dlcs_database import SCHEMA, Dlcs

_RECIPE = (SCHEMA / "ingest-writes.sql").read_text()
# What the recipe writes, and the name of what a test writes in its place.
_OF_IMAGE: Mapping[str, str] = {":'asset'": ":image", "'99/1/other'": ":image", ":batch": ":batch"}
_VALUES: Mapping[str, Mapping[str, str]] = {
    "Images": {'"Width"=4000': '"Width"=:width', '"Height"=3000': '"Height"=:height'},
    "ImagesFailed": {"'Unable to get asset from origin'": ":error"},
    "ImageLocation": {"'s3://eu-west-1/dlcs-storage/99/1/demo'": ":location"},
    "ImageStorage": {",99,1,5000,700,": ",:customer,:space,:size,:thumbnails,"},
    "ThumbSizes": {'\'{"o":[[400,300],[200,150],[100,75]],"a":[]}\'': "CAST(:sizes AS jsonb)"},
    "BatchAssets": {},
    "BatchAssetsFailed": {"'Unable to get asset from origin'": ":error"},
    "CustomerStorage": {"+5000": "+:size", "+700": "+:thumbnails", '"Customer"=99': '"Customer"=:customer'},
    "Queues": {"(99,'default',0)": "(:customer,:queue,0)"},
}


@dataclass(frozen=True)
class Prescribed:
    """How an image ended: what the recipe is to write of it. None: nothing is written in that table."""

    width: int = 0
    height: int = 0
    error: str | None = None
    location: str | None = None
    stored: tuple[int, int] | None = None  # bytes of sources, and of thumbnails
    sizes: str | None = None


def follow_recipe(dlcs: Dlcs, image: str, batch: int, end: Prescribed, *, queue: str = "default") -> None:
    """Do what the recipe says for the end of an image of a batch."""
    customer, space, _ = image.split("/", 2)
    size, thumbnails = end.stored or (0, 0)
    values = {
        "image": image, "customer": int(customer), "space": int(space), "batch": batch, "queue": queue,
        "width": end.width, "height": end.height, "error": end.error, "location": end.location,
        "size": size, "thumbnails": thumbnails, "sizes": end.sizes,
    }  # fmt: skip
    failed = "" if end.error is None else "Failed"
    written = {
        "Images": not failed or end.width > 0,  # what was collected before it failed is kept
        "ImagesFailed": bool(failed),
        "ImageLocation": end.location is not None,
        "ImageStorage": end.stored is not None,
        "ThumbSizes": end.sizes is not None,
        f"BatchAssets{failed}": True,
        "recount": True,
        "CustomerStorage": end.stored is not None,
        "Queues": True,
    }
    statements = _statements(dlcs.layout)
    for name in (name for name, is_written in written.items() if is_written):
        statement = statements[name]
        dlcs.execute(statement, {key: value for key, value in values.items() if re.search(rf"[^:]:{key}\b", statement)})


def _statements(layout: str) -> dict[str, str]:
    """Return the recipe's statements by table, "Failed" behind those of a failure, and the recount."""
    (recount,) = re.findall(r"^\\set recount '(.*)'$", _RECIPE, re.MULTILINE)
    text = re.sub(r"^(--|\\|:).*$|  *--.*$", "", _RECIPE[_RECIPE.index("\nBEGIN;") :], flags=re.MULTILINE)
    found = {"recount": _with_values(recount, {})}
    for statement in (each.strip() for each in text.split(";")):
        if of_table := re.match(r'(?:UPDATE|INSERT INTO) "(\w+)"', statement):
            name = {"AssetApplicationMetadata": "ThumbSizes"}.get(of_table[1], of_table[1])
            if f"{name}Failed" in _VALUES and name in found:
                name += "Failed"
            in_layout = statement.replace(":'newlayout'", "'t'" if layout == "2026" else "'f'")
            found[name] = _with_values(in_layout, _VALUES[name])
    assert set(found) == {"recount", *_VALUES}, f"the recipe has statements for {sorted(found)}"
    return found


def _with_values(statement: str, of_table: Mapping[str, str]) -> str:
    for said, name in of_table.items():
        assert said in statement, f"the recipe does not say {said}: {statement}"
        statement = statement.replace(said, name)
    for said, name in _OF_IMAGE.items():
        statement = statement.replace(said, name)
    return statement
