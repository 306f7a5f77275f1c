"""A database as the DLCS has it, of either layout, in a real PostgreSQL; and images in it as the DLCS leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from dlcs_testing.postgresql import Server

SCHEMA = Path(__file__).parents[1] / "dlcs_assets_tests" / "clients" / "dlcs_schema"
LAYOUTS: Mapping[str, Sequence[str]] = {
    "2025": ("dlcs-schema.sql",),
    "2026": ("dlcs-schema.sql", "dlcs-schema-2026.sql"),
}
_DEFAULTS: Mapping[str, Any] = {
    "Batch": 0, "Created": "2026-01-02T03:04:05Z", "Error": "", "Family": "I", "Finished": "2026-01-02T03:05:00Z",
    "Height": 2000, "Ingesting": False, "MaxUnauthorised": -1, "MediaType": "image/tiff", "NumberReference1": 0,
    "NumberReference2": 0, "NumberReference3": 0, "PreservedUri": "", "Reference1": "", "Reference2": "",
    "Reference3": "", "Roles": "", "Tags": "", "Width": 3000,
}  # fmt: skip


@dataclass(frozen=True)
class Dlcs:
    """The database at a URL. Policies are named as the DLCS seeds them, or added by `policy`."""

    url: str

    @classmethod
    def new(cls, server: Server, layout: str) -> Dlcs:
        """Make one of a layout, 2025 or 2026."""
        made = cls(server.new_database())
        for name in LAYOUTS[layout]:
            made.execute((SCHEMA / name).read_text())
        return made

    def image(self, image: str, *channels: tuple[str, str], **columns: Any) -> None:
        """Add an image; channels with their policies default to those of images."""
        customer, space, _ = image.split("/", 2)
        origin = f"https://example.org/{image}.tif"
        row = {"Id": image, "Customer": int(customer), "Space": int(space), "Origin": origin, **_DEFAULTS, **columns}
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(f":{name}" for name in row)
        self.execute(f'INSERT INTO "Images" ({names}) VALUES ({values})', row)
        for channel, policy in channels or (("iiif-img", "default"), ("thumbs", "default")):
            self.execute(
                'INSERT INTO "ImageDeliveryChannels" ("Channel", "DeliveryChannelPolicyId", "ImageId") '
                'SELECT "Channel", "Id", :image FROM "DeliveryChannelPolicies" '
                'WHERE "Channel" = :channel AND "Name" = :policy',
                {"image": image, "channel": channel, "policy": policy},
            )

    def policy(self, customer: int, channel: str, name: str) -> None:
        """Add a customer's own policy."""
        self.execute(
            'INSERT INTO "DeliveryChannelPolicies" ("Channel", "Created", "Customer", "Modified", "Name", "System") '
            "VALUES (:channel, now(), :customer, now(), :name, false)",
            {"channel": channel, "customer": customer, "name": name},
        )

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        """Run a statement, or a whole file of them."""
        engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg2:"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                if values is None:
                    result = connection.exec_driver_sql(statement.replace("%", "%%"))
                else:
                    result = connection.execute(text(statement), values)
                return list(result) if result.returns_rows else []
        finally:
            engine.dispose()
