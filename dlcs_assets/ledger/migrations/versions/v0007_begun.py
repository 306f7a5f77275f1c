"""A claim says whether its run has begun the image: a run that dies charges no other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column. Of what is held now nothing is known: it counts as begun, as before."""
    comment = "when work on the image began; until then it is only held"
    op.add_column("claims", sa.Column("begun_at", sa.DateTime, comment=comment))
    claims = sa.table("claims", sa.column("begun_at"), sa.column("heartbeat_at"))
    op.execute(sa.update(claims).values(begun_at=claims.c.heartbeat_at))
