"""The customers of an installation, read from a YAML file that may be edited while everything runs."""

from dlcs_assets.customers.file import CustomersFile, NoCustomersError, customers_file

__all__ = ["CustomersFile", "NoCustomersError", "customers_file"]
