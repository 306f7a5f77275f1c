"""How long is searched: some seconds in every test run, the same each time; longer and at random on request.

    DLCS_FUZZ=20000 pytest dlcs_assets_tests/fuzz

What was found on the way stays as an `@example` of its test.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("DLCS_FUZZ", "0"))

settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES or 200,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("fuzz")
