"""The JSON of `POST /convert`: what is asked, what is answered, and the 422 of what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, from_json

from dlcs_stack.appetiser.faults import drops_size, refuses_size
from dlcs_stack.appetiser.sizes import SIZE_PATTERN


class Operation(StrEnum):
    """What is made: the JP2, the thumbnails, or both."""

    INGEST = "ingest"
    IMAGE_ONLY = "image-only"
    DERIVATIVES_ONLY = "derivatives-only"


class Optimisation(StrEnum):
    """The profiles of Appetiser's JP2s, by how many bits they may spend."""

    LOW = "kdu_low"
    MEDIUM = "kdu_med"
    MEDIUM_LAYERS = "kdu_med_layers"
    HIGH = "kdu_high"
    MAX = "kdu_max"


def _under_roots(value: Any, info: ValidationInfo) -> Any:
    # Before the check that the path exists, so that nothing is said about files elsewhere.
    roots: Sequence[Path] = (info.context or {}).get("roots", ())
    if roots and isinstance(value, str):
        try:
            resolved = Path(value).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
            resolved = None
        if resolved is None or not any(resolved.is_relative_to(root) for root in roots):
            raise PydanticCustomError("path_outside_roots", "Path is not under one of the configured roots")
    return value


def _has_faults(info: ValidationInfo) -> bool:
    return bool((info.context or {}).get("faults"))


def _in_a_folder(path: Path, info: ValidationInfo) -> Path:
    if _has_faults(info):
        return path
    if not path.name or not path.parent.is_dir() or path.is_dir():
        raise PydanticCustomError("path_not_writable", "Path is not a file in an existing directory")
    return path


def _not_refused(size: str, info: ValidationInfo) -> str:
    if _has_faults(info) and refuses_size(size):
        raise PydanticCustomError("string_pattern_mismatch", "String should match one of the patterns of sizes")
    return size


class ConvertRequest(BaseModel):
    """One image to convert. The context `{"roots": [resolved paths], "faults": ...}` confines paths and sizes."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    job_id: str
    image_id: str
    origin: str
    source: Annotated[FilePath, BeforeValidator(_under_roots)]
    operation: Operation
    destination: Annotated[Path, BeforeValidator(_under_roots), AfterValidator(_in_a_folder)] | None = Field(
        None, validate_default=True
    )
    thumb_iiif_sizes: tuple[
        Annotated[str, StringConstraints(pattern=SIZE_PATTERN), AfterValidator(_not_refused)], ...
    ] = Field((), alias="thumbIIIFSizes")
    thumb_dir: Annotated[DirectoryPath, BeforeValidator(_under_roots)] | None = Field(None, validate_default=True)
    optimisation: Optimisation | None = None

    @field_validator("destination")
    @classmethod
    def _destination_of_a_jp2(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (
            value is None
            and not _has_faults(info)
            and info.data.get("operation") in (Operation.INGEST, Operation.IMAGE_ONLY)
        ):
            raise PydanticCustomError("missing", "Field required")
        return value

    @field_validator("thumb_iiif_sizes", mode="before")
    @classmethod
    def _none_is_no_sizes(cls, value: Any, info: ValidationInfo) -> Any:
        if _has_faults(info):
            if not isinstance(value, list):
                raise PydanticCustomError("list_type", "Input should be a valid list")
            return [size for size in value if not drops_size(size)]
        return () if value is None else value

    @field_validator("thumb_dir")
    @classmethod
    def _folder_of_thumbs(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        makes_thumbs = info.data.get("operation") in (Operation.INGEST, Operation.DERIVATIVES_ONLY)
        if value is None and not _has_faults(info) and makes_thumbs and info.data.get("thumb_iiif_sizes"):
            raise PydanticCustomError("missing", "Field required")
        return value


class Thumb(BaseModel):
    """A thumbnail that was made, with its pixels."""

    path: str
    width: int
    height: int


class ConvertResponse(BaseModel):
    """What was made. `jp2` is empty where none was asked for; width and height are those of the JP2 as written."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    job_id: str
    image_id: str
    origin: str
    optimisation: Optimisation | None
    jp2: str
    height: int
    width: int
    thumbs: list[Thumb]


class InvalidRequestError(Exception):
    """A body that is no `ConvertRequest`. `detail` lists what is wrong with it, in the shape of FastAPI's 422."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(detail)} validation errors")
        self.detail = detail


def no_json(body: bytes) -> InvalidRequestError:
    """Return what answers a body that is not declared as JSON, whatever it is, where there are faults."""
    said = "Input should be a valid dictionary or object to extract fields from"
    shown = body.decode("utf-8", "replace")
    return InvalidRequestError([{"type": "model_attributes_type", "loc": ["body"], "msg": said, "input": shown}])


def read_request(body: bytes, roots: Sequence[Path], *, faults: bool = False) -> ConvertRequest:
    """Read a request whose paths lie under `roots`, if there are any; raise `InvalidRequestError`."""
    if not body:
        raise InvalidRequestError([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    try:
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequestError(
            [
                {
                    "type": "json_invalid",
                    "loc": ["body", 0],
                    "msg": "JSON decode error",
                    "input": {},
                    "ctx": {"error": str(error)},
                }
            ]
        ) from error
    try:
        return ConvertRequest.model_validate(values, context={"roots": roots, "faults": faults})
    except ValidationError as error:
        raise InvalidRequestError(
            [{**item, "loc": ["body", *_as_sent(item["loc"])]} for item in error.errors(include_url=False)]
        ) from error


def _as_sent(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    # pydantic names a default by its field, everything else by its alias
    field = ConvertRequest.model_fields.get(str(location[0])) if location else None
    return (field.alias, *location[1:]) if field and field.alias else location
