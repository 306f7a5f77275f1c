"""A database as the DLCS has it, of either layout, in a real PostgreSQL; and images in it as the DLCS leaves them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

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
_QUERIES: Mapping[str, str] = {
    "Images": 'SELECT "Width", "Height", "MediaType", "Error", "Ingesting" FROM "Images" WHERE "Id" = :image',
    "ImageLocation": 'SELECT "S3", "Nas" FROM "ImageLocation" WHERE "Id" = :image',
    "ImageStorage": 'SELECT "Size", "ThumbnailSize", "CheckingInProgress" FROM "ImageStorage" WHERE "Id" = :image',
    "ThumbSizes": 'SELECT "MetadataValue" FROM "AssetApplicationMetadata" WHERE "AssetId" = :image '
    """AND "MetadataType" = 'ThumbSizes'""",
    "BatchAssets": 'SELECT "BatchId", "Status", "Error" FROM "BatchAssets" WHERE "AssetId" = :image ORDER BY "BatchId"',
    "Batches": 'SELECT "Completed", "Errors", "Count", "Finished" IS NOT NULL FROM "Batches" '
    'WHERE "Customer" = :customer ORDER BY "Id"',
    "CustomerStorage": 'SELECT "TotalSizeOfStoredImages", "TotalSizeOfThumbnails" FROM "CustomerStorage" '
    'WHERE "Customer" = :customer AND coalesce("Space", 0) = 0',
    "Queues": 'SELECT "Name", "Size" FROM "Queues" WHERE "Customer" = :customer ORDER BY "Name"',
}
_MANY = ("BatchAssets", "Batches", "Queues")


@dataclass(frozen=True)
class Dlcs:
    """The database at a URL. Policies are named as the DLCS seeds them, or added by `policy`."""

    url: str
    layout: str

    @classmethod
    def new(cls, server: Server, layout: str) -> Dlcs:
        """Make one of a layout, 2025 or 2026."""
        made = cls(server.new_database(), layout)
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

    def customer(self, number: int, *, stored: int = 0, storage_policy: str = "default") -> None:
        """Add a customer, with a total of what it has stored, and of one of its spaces, which is none."""
        name = f"customer {number}"
        self.execute(
            "INSERT INTO \"Customers\" VALUES (:number, true, false, now(), :name, '', :name)",
            {"number": number, "name": name},
        )
        whole = None if self.layout == "2026" else 0
        for space, size in {whole: stored, 7: stored * 1000}.items():
            self.execute(
                'INSERT INTO "CustomerStorage" ("Customer", "Space", "StoragePolicy", "NumberOfStoredImages", '
                '"TotalSizeOfStoredImages", "TotalSizeOfThumbnails") VALUES (:number, :space, :policy, 0, :size, 0)',
                {"number": number, "space": space, "policy": storage_policy, "size": size},
            )

    def submit(self, *images: str, queue: str = "default") -> int:
        """Submit images as a batch, as the API does it: what it writes before it sends a message for each."""
        customer = int(images[0].split("/")[0])
        ((batch,),) = self.execute(
            'INSERT INTO "Batches" ("Completed", "Count", "Customer", "Errors", "Submitted", "Superseded") '
            'VALUES (0, :count, :customer, 0, now(), false) RETURNING "Id"',
            {"count": len(images), "customer": customer},
        )
        for image in images:
            self.execute(
                """UPDATE "Images" SET "Error" = '', "Ingesting" = true, "Batch" = :batch WHERE "Id" = :image""",
                {"batch": batch, "image": image},
            )
            self.execute(
                'INSERT INTO "BatchAssets" ("BatchId", "AssetId", "Status") VALUES (:batch, :image, 1)',
                {"batch": batch, "image": image},
            )
        self.execute(
            'INSERT INTO "Queues" VALUES (:customer, :queue, :count) '
            'ON CONFLICT ("Customer", "Name") DO UPDATE SET "Size" = "Queues"."Size" + :count',
            {"customer": customer, "queue": queue, "count": len(images)},
        )
        return int(batch)

    def rows(self, image: str) -> dict[str, Any]:
        """Return all that an engine writes of an image, by table, without times; None for a row that is not there."""
        values = {"image": image, "customer": int(image.partition("/")[0])}
        found = {name: self.execute(query, values) for name, query in _QUERIES.items()}
        single = {name: tuple(rows[0]) if rows else None for name, rows in found.items() if name not in _MANY}
        return single | {name: [tuple(row) for row in found[name]] for name in _MANY}

    def limit(self, policy: str, images: int, size: int) -> None:
        """Add a storage policy."""
        values = {"policy": policy, "images": images, "size": size}
        self.execute('INSERT INTO "StoragePolicies" VALUES (:policy, :images, :size)', values)

    def strategy(
        self,
        customer: int,
        name: str,
        regex: str,
        strategy: str = "default",
        *,
        credentials: str = "",
        optimised: bool = False,
        order: int = 0,
    ) -> None:
        """Add an origin strategy."""
        self.execute(
            'INSERT INTO "CustomerOriginStrategies" '
            '("Id", "Customer", "Regex", "Strategy", "Credentials", "Optimised", "Order") '
            "VALUES (:name, :customer, :regex, :strategy, :credentials, :optimised, :order)",
            {
                "name": name,
                "customer": customer,
                "regex": regex,
                "strategy": strategy,
                "credentials": credentials,
                "optimised": optimised,
                "order": order,
            },
        )

    def policy(self, customer: int, channel: str, name: str, data: str | None = None) -> None:
        """Add a customer's own policy."""
        self.execute(
            'INSERT INTO "DeliveryChannelPolicies" ("Channel", "Created", "Customer", "Modified", "Name", "System", '
            '"PolicyData") VALUES (:channel, now(), :customer, now(), :name, false, :data)',
            {"channel": channel, "customer": customer, "name": name, "data": data},
        )

    def default_channel(self, customer: int, space: int | None, media_type: str, channel: str, policy: str) -> None:
        """Add a default channel of a space, or (None) of all; its policy is the customer's, or the first one's."""
        whole = None if self.layout == "2026" else 0
        self.execute(
            'INSERT INTO "DefaultDeliveryChannels" ("Id", "Customer", "Space", "MediaType", "DeliveryChannelPolicyId") '
            'SELECT gen_random_uuid(), :customer, :space, :media_type, "Id" FROM "DeliveryChannelPolicies" '
            'WHERE "Channel" = :channel AND "Name" = :policy AND "Customer" IN (1, :customer) '
            'ORDER BY "Customer" DESC LIMIT 1',
            {
                "customer": customer,
                "space": whole if space is None else space,
                "media_type": media_type,
                "channel": channel,
                "policy": policy,
            },
        )

    def reader(self, *tables: str, right: str = "SELECT") -> Dlcs:
        """Return the same database as a user of its own sees it, who has a right on these tables only."""
        name = f"reader_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD 's3cr3t'")
        for each in tables:
            self.execute(f'GRANT {right} ON "{each}" TO {name}')
        url = make_url(self.url).set(username=name, password="s3cr3t")
        return Dlcs(url.render_as_string(hide_password=False), self.layout)

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
