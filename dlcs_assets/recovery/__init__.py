"""When ledger and S3 no longer agree: filling a ledger from what S3 has, and finding and repairing differences."""
