"""Which setting of the software is a parameter of the template, which is left to its default, and why."""

from __future__ import annotations

from typing import Final

# A parameter each, blank by default: the software takes a blank variable for one that is not set.
GIVEN: Final = (
    *("public_image_server_url", "public_iiif_url", "s3_uri_region", "asset_key_prefix", "ingest_type"),
    *("swept_buckets", "sweep_interval", "sweep_budget", "private_networks"),
    *("appetiser_optimisation", "appetiser_timeout", "image_server_timeout"),
    *("origin_in_flight", "origin_timeout", "origin_max_bytes", "origin_min_rate"),
    *("max_pixels", "max_frames", "max_parts", "max_components", "decoder_memory", "engine_open_thumbnails"),
    *(
        "chunk_size",
        "images_in_flight",
        "customer_runs",
        "registration_wait",
        "attempts",
        "attempt_delay",
        "stalled_after",
    ),
    *("receive_wait", "intake_budget", "heartbeat", "claim_ttl", "customers_file"),
    *(
        "maintenance_cron",
        "partition_window",
        "partition_keys",
        "run_retention",
        "history_retention",
        "rejected_retention",
    ),
    *("fixity_cron", "fixity_objects", "view_restricted"),
)
# The same, but blank means something else to the software: where the parameter is blank, the variable is left out.
GIVEN_OR_ABSENT: Final = ("customers", "default_thumbnail_sizes")
# Secrets that are made by hand: the parameter is the ARN of the secret, and without one the variable is left out.
SECRETS: Final = {
    "ledger_key": ("LedgerKeySecret", "ARN of the secret with DLCS_LEDGER_KEY; blank: the ledger is not encrypted."),
    "alert_webhook_url": (
        "AlertWebhookSecret",
        "ARN of the secret with DLCS_ALERT_WEBHOOK_URL; blank: none is posted to.",
    ),
    "database_url": ("DlcsDatabaseSecret", "ARN of the secret with DLCS_DATABASE_URL; blank: none is read."),
}
LEFT_OUT: Final = {
    "abandoned_after": "It concerns commands that a person gives.",
    "s3_endpoint_url": "S3 is AWS's own.",
    "appetiser_scratch_root": "All containers see the scratch folder under the same path.",
    "image_server_scratch_root": "All containers see the scratch folder under the same path.",
    "image_server_path": "The image of deploy/cantaloupe answers under the default.",
    "image_server_kind": "The image server is Cantaloupe.",
    "image_server_reads_jp2": "It concerns iiif-processor only.",
    "image_server_cache": "The image of deploy/cantaloupe has no caches that would need another value.",
}


def parameter_of(setting: str) -> str:
    """Return the name of the parameter for a setting: attempt_delay is AttemptDelay."""
    return "".join(part.capitalize() for part in setting.split("_"))


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting."""
    return f"DLCS_{setting.upper()}"
