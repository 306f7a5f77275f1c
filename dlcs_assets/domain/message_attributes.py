"""What a sender says of a message next to its body: the attributes of SQS, of which the DLCS needs `IngestType`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

INGEST_TYPE: Final = "IngestType"


@dataclass(frozen=True, slots=True)
class MessageAttribute:
    """`type` is String, Number or Binary, perhaps with a label behind it; the `value` of a Binary is in base64."""

    type: str
    value: str

    @property
    def is_binary(self) -> bool:
        """Whether the value stands for bytes."""
        return self.type.partition(".")[0] == "Binary"


def ingest_type(attributes: Mapping[str, MessageAttribute]) -> str | None:
    """Return what the DLCS says a message is about; None if it does not say."""
    found = attributes.get(INGEST_TYPE)
    return found.value if found and not found.is_binary else None


def texts(attributes: Mapping[str, MessageAttribute]) -> dict[str, str]:
    """Return the values that are text, by name."""
    return {name: attribute.value for name, attribute in attributes.items() if not attribute.is_binary}


def attributes_to_json(attributes: Mapping[str, MessageAttribute]) -> dict[str, Any]:
    """Return plain JSON values, for a database column."""
    return {name: asdict(attribute) for name, attribute in attributes.items()}


def attributes_of_json(value: Mapping[str, Any]) -> dict[str, MessageAttribute]:
    """Read what `attributes_to_json` gave."""
    return {name: MessageAttribute(fields["type"], fields["value"]) for name, fields in value.items()}
