"""The customers of an installation: their policies, origin strategies, buckets and quotas."""

from dlcs_assets.customers.file import NoCustomersError
from dlcs_assets.customers.source import CustomerSource, customer_source

__all__ = ["CustomerSource", "NoCustomersError", "customer_source"]
