"""Variables of the environment that several tests read the settings from."""

from __future__ import annotations

from typing import Final

# Text, tuples, numbers, durations, paths and choices.
OF_EVERY_KIND: Final = {
    "DLCS_STORAGE_BUCKET": "library",
    "DLCS_S3_ORIGIN_BUCKETS": "scans, more-scans",
    "DLCS_CUSTOMERS": "2,5",
    "DLCS_PRIVATE_NETWORKS": "10.1.0.0/16, FD00::/8",
    "DLCS_DEFAULT_THUMBNAIL_SIZES": "!200,200;!100,100",
    "DLCS_CHUNK_SIZE": "7",
    "DLCS_ATTEMPT_DELAY": "0.5",
    "DLCS_REGISTRATION_WAIT": "PT5M",
    "DLCS_SCRATCH": "/work/scratch",
    "DLCS_IMAGE_SERVER_KIND": "iiif-processor",
}
SECRET: Final = {
    "DLCS_LEDGER_URL": "postgresql://dlcs:hunter2@database/dlcs",
    "DLCS_LEDGER_KEY": "kT2p0WmDk0Gm5nGyVSkqZqjXwPz7zq0hP3y3k2m1a3o=",
    "DLCS_ALERT_WEBHOOK_URL": "https://chat.example.org/services/hunter2",
    "DLCS_DATABASE_URL": "postgresql://engine:hunter2@database/dlcs",
}
