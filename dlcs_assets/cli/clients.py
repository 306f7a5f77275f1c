"""What some commands work with besides: a customer's configuration, queues, storage."""

from __future__ import annotations

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.clients.storage import Storage
from dlcs_assets.customers import customer_source
from dlcs_assets.domain.customers import Customer
from dlcs_assets.settings import Settings


def load_customer(settings: Settings, number: int) -> Customer:
    """Return a customer's configuration. Raises `PermanentError` or NoCustomersError."""
    return customer_source(settings).customers().get(number)


def make_queues() -> Queues:
    """Return the client of SQS."""
    return Queues()


def make_storage(settings: Settings) -> Storage:
    """Return the client of S3."""
    s3 = S3ClientFactory(endpoint_url=settings.s3_endpoint_url)
    return Storage(s3=s3, storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket)
