"""JSON values in few bytes: compressed, with the words that most of them have known beforehand.

A value by itself is too short to be compressed: most of it is names, which are the same in all of them.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Final

# What is stored is read with these words: they never change. Better ones would be those of another first byte.
_FIRST_BYTE: Final = b"\x01"
_WORDS: Final = (
    b'"made_by":"Appetiser, from what is stored","size_from":"brought_to_disk":true,"seen_late":1,"left_out":["'
    b'Found in S3 when the ledger was rebuilt","nothing",{}"orientation":6,"page":"1 of ","origin_version":"'
    b'"note":"About this JP2: it has no tiles or precincts to read it by: delivery of large images will be slow'
    b'image/jpeg"image/png"image/jp2"image/tiff"https://s3://"sizes":["!1024,1024","!400,400","!200,200","!100,100"]'
    b'"file":"the original","source":"origin","source":"original","made":false,"kept":true,"restricted":true'
    b',"tile_ready":true,"levels":6,"source_sha256":"","profile":"","plan":"","why":"","media_type":"image/tiff'
    b'["{"origin":"https://","bytes":,"sha256":"","media_type":"image/jpeg","width":,"height":'
    b',"sizes":[[,1024],[,400],[,200],[,100]],"open":4,"restricted":0,"bytes":,"source":"s3://'
    b'","location":"s3://","sha256":"","milliseconds":},{"code":"1","made":true,"origin":"'
    b'","source":"jp2","sizes":["!1024,1024","!400,400","!200,200","!100,100"],"limit":-1,"restricted":false},'
    b'[["","/auth/1024.jpg","thumbnail",,"","image/jpeg"],["","/s.json","sizes",,"","application/json"]]]'
    b'"original",,"","image/tiff"]]]"jp2",,"","image/jp2"]]]'
    b'/open/1024.jpg","thumbnail",,"","image/jpeg"],["/open/400.jpg/open/200.jpg/open/100.jpg"'
)
_WINDOW: Final = -12  # of 4 KB, without the header that would name it
_MEMORY: Final = 5


def pack(value: Any) -> bytes:
    """Return a JSON value in few bytes."""
    packing = zlib.compressobj(6, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, _WORDS)
    text = json.dumps(value, separators=(",", ":")).encode()
    return _FIRST_BYTE + packing.compress(text) + packing.flush()


def unpack(packed: bytes) -> Any:
    """Return the value that `pack` was given. Raises ValueError for what a newer version packed in another way."""
    if packed[:1] != _FIRST_BYTE:
        raise ValueError(f"packed in a way that is not known here: it begins with {packed[:1]!r}")
    return json.loads(zlib.decompressobj(_WINDOW, _WORDS).decompress(packed[1:]))
