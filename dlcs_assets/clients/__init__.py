"""One module per outside system, as plain classes: no Dagster, and the same errors from all of them."""
