"""Reading originals where they are: each origin strategy has a module, and one client leads to them all."""

from dlcs_assets.clients.origins.client import Origins
from dlcs_assets.clients.origins.strategy import Peeked

__all__ = ["Origins", "Peeked"]
