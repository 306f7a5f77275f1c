"""What makes Dagster launch runs: messages taken in, images that are due, runs that were lost."""
