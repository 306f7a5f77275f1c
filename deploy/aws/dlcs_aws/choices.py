"""What a template is made for. What is chosen later, at each deployment, are the template's parameters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Final

# What the parameter RunsInFlight may be. CloudFormation can't calculate: what follows from it is a table.
RUNS_IN_FLIGHT: Final = (2, 4, 8, 16, 32, 64)
# A run asks for four thumbnails at a time: four runs keep the two processors of an image server busy.
_RUNS_PER_IMAGE_SERVER: Final = 4
_RUNS_PER_APPETISER: Final = 2


class Arrangement(StrEnum):
    """Where the image server and Appetiser are (docs/deploy.md)."""

    SERVICE = "service"  # the image server reads S3
    SIDECAR = "sidecar"  # the image server is in the run's task
    EFS = "efs"  # image server and Appetiser are services on a shared file system
    APPETISER = "appetiser"  # Appetiser makes the thumbnails, too


class Origin(StrEnum):
    """Whether the template makes something, or is given its name."""

    NEW = "new"
    EXISTING = "existing"


@dataclass(frozen=True)
class Size:
    """How much there is of everything, and how much of it may break."""

    name: str
    runs_in_flight: int
    # From a number of runs on, the class of the database: its memory limits its connections, and a run has several.
    database_classes: tuple[tuple[int, str], ...]
    database_gib: int
    second_zone: bool  # of database and NAT gateway
    endpoints: bool  # AWS's services are reached without the NAT gateway
    backup_days: int
    log_days: int
    image_servers: int  # at least
    webservers: int
    run_capacity: str  # of the two that Fargate has

    def database_class(self, runs: int) -> str:
        """Return the class of the database that a number of runs needs."""
        return [name for least, name in self.database_classes if least <= runs][-1]

    def scale(self) -> dict[str, dict[str, str]]:
        """Return what follows from each number of runs in flight."""
        return {
            str(runs): {
                "BackfillRuns": str(max(1, runs // 2)),
                "ImageServers": str(max(self.image_servers, ceil(runs / _RUNS_PER_IMAGE_SERVER))),
                "Appetisers": str(ceil(runs / _RUNS_PER_APPETISER)),
                "DatabaseClass": self.database_class(runs),
            }
            for runs in RUNS_IN_FLIGHT
        }


SIZES: Final = {
    size.name: size
    for size in (
        Size(
            name="small",
            runs_in_flight=4,
            database_classes=(
                (0, "db.t4g.medium"),
                (16, "db.m7g.large"),
                (32, "db.m7g.xlarge"),
                (64, "db.m7g.2xlarge"),
            ),
            database_gib=50,
            second_zone=False,
            endpoints=False,
            backup_days=7,
            log_days=30,
            image_servers=1,
            webservers=1,
            run_capacity="FARGATE_SPOT",
        ),
        Size(
            name="production",
            runs_in_flight=16,
            database_classes=((0, "db.m7g.large"), (32, "db.m7g.xlarge"), (64, "db.m7g.2xlarge")),
            database_gib=200,
            second_zone=True,
            endpoints=True,
            backup_days=35,
            log_days=90,
            image_servers=2,
            webservers=2,
            run_capacity="FARGATE_SPOT",
        ),
    )
}


@dataclass(frozen=True)
class Choices:
    """All that is decided when a template is made."""

    size: Size
    arrangement: Arrangement = Arrangement.SERVICE
    network: Origin = Origin.NEW
    buckets: Origin = Origin.NEW

    @property
    def has_image_server(self) -> bool:
        """Return whether an image server is a service of its own."""
        return self.arrangement in {Arrangement.SERVICE, Arrangement.EFS}

    @property
    def on_efs(self) -> bool:
        """Return whether the scratch folder is a shared file system."""
        return self.arrangement is Arrangement.EFS
