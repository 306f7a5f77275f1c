"""The dashboard for Grafana shows the metrics that there are, by their names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/dlcs-assets.json").read_text())
EXPRESSIONS: Final = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
# `docs/operate.md` has all metrics with their labels: a test of the metrics compares it with what is measured.
DOCUMENTED: Final = dict(
    re.findall(r"^\| `(dlcs_\w+)` \| (\w*) ?\|", (ROOT / "docs/operate.md").read_text(), flags=re.MULTILINE)
)


def test_every_metric_is_on_the_dashboard_and_no_other() -> None:
    shown = {name for expression in EXPRESSIONS for name in re.findall(r"dlcs_\w+", expression)}
    assert shown == DOCUMENTED.keys()


def test_values_are_separated_by_their_own_label() -> None:
    for expression in EXPRESSIONS:
        (name,) = re.findall(r"dlcs_\w+", expression)
        by = re.findall(r" by \((\w+)\)", expression)
        assert by in ([], [DOCUMENTED[name]]), expression


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
