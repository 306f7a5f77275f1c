"""What the pages say is what the code does: tables are compared with it, and what they name exists."""

from __future__ import annotations

import ast
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic.fields import FieldInfo

from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs.sensors.deletions import CHUNKS_IN_FLIGHT
from dlcs_assets.defs.sensors.dispatch import FIRST_RUN_BOOST, PRIORITIES
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.tables import metadata
from dlcs_assets.settings import Settings
from dlcs_stack.samples import DEFAULT_PLAN

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dlcs_assets"
PAGES = [*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md")), ROOT / "bench/RESULTS.md"]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
WRITTEN_LATER = {"bench/results/quick.json"}
ROWS = dict(re.findall(r"^\| `(DLCS_\w+)` \| (.*) \|$", (ROOT / "docs/settings.md").read_text(), flags=re.MULTILINE))


EXTEND_ROWS = [
    line.strip("|").split(" | ")
    for line in (ROOT / "docs/extend.md").read_text().split("| change | code |")[1].split("\n\n")[0].splitlines()[2:]
]


def shown_default(default: Any) -> str:
    match default:
        case None | ():
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case timedelta():
            return f"`{int(default.total_seconds())}`"
        case tuple():
            return f"`{';'.join(default)}`"
        case _:
            return f"`{default}`"


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_every_setting_is_documented_with_its_default(name: str, field: FieldInfo) -> None:
    row = ROWS.get(f"DLCS_{name.upper()}")
    assert row == f"{shown_default(field.default)} | {field.description}"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    assert set(ROWS) == {f"DLCS_{name.upper()}" for name in Settings.model_fields}


RAISED = {
    "PermanentError",
    "TransientError",
    "ServiceDownError",
    "MessageRejectedError",
    "InvalidAssetIdError",
    "Rejection",
}
PEERS = ("appetiser", "image_server", "origin", "origin_credentials", "queue", "storage", "topic")
SHARED_ENDINGS = (
    *(
        "address_invalid",
        "archived",
        "broke_off",
        "certificate_invalid",
        "not_found",
        "redirects",
        "refused",
        "timeout",
    ),
    "unavailable",
)
FIRST_CELLS = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs/errors.md").read_text(), flags=re.MULTILINE)
CODES = {code for cell in FIRST_CELLS for code in re.findall(r"`(\w+)`", cell)}


def codes_in_the_source() -> set[str]:
    """Return the codes that are written out where an error is made."""
    calls = (
        node
        for path in (ROOT / "dlcs_assets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id in RAISED
    )
    written = (call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant))
    return {code for code in written if isinstance(code, str)}


def test_every_code_of_a_failure_is_explained() -> None:
    assert codes_in_the_source() - CODES == set()


def test_no_code_is_explained_that_nothing_raises() -> None:
    source = "".join(path.read_text() for path in (ROOT / "dlcs_assets").rglob("*.py"))
    shared = {f"{peer}_{ending}" for peer in PEERS for ending in SHARED_ENDINGS}
    assert {code for code in CODES - shared if f'"{code}"' not in source} == set()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text())
    assert [link for link, _ in links if not (page.parent / link).exists()] == []
    to_anchors = [(page.parent / link if link else page, anchor) for link, anchor in links if anchor]
    assert [anchor for target, anchor in to_anchors if anchor not in anchors(target)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """A path in backticks is one of the repository, of the package, or of the page's own folder of examples."""
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|md|json|yaml|toml|env|properties|rb))`", page.read_text()))
    roots = (ROOT, PACKAGE, ROOT / "deploy", ROOT / "dlcs_assets_tests", page.parent)
    missing = {path for path in named if not any((root / path).exists() for root in roots)}
    assert missing - WRITTEN_LATER == set()


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of a page in docs/, without its head."""
    text = (ROOT / "docs" / page).read_text()
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = section[section.index("\n|") + 1 :].split("\n\n", 1)[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def words(cell: str) -> set[str]:
    """Return what is in backticks in a cell."""
    return set(re.findall(r"`([^`]+)`", cell))


@pytest.fixture(scope="module")
def definitions() -> dg.RepositoryDefinition:
    return build_definitions(Settings()).get_repository_def()


def test_the_rooms_of_the_architecture_are_those_that_exist() -> None:
    """The table of layers names each module and package of the top level, in the order that is enforced."""
    rooms = [words(row[0]) for row in table("architecture.md", "The rooms")]
    contract = re.search(r'containers = \["dlcs_assets"\]\nexhaustive = true\nlayers = \[(.*?)\]', PYPROJECT, re.DOTALL)
    assert contract
    assert rooms == [set(layer.split(" | ")) for layer in re.findall(r'"([^"]+)"', contract[1])]


def test_the_parts_of_the_ledger_are_those_of_the_page() -> None:
    parts = {name for row in table("architecture.md", "The ledger") for name in words(row[0])}
    ledger = Ledger("sqlite://")
    try:
        assert parts == {name for name in vars(ledger) if not name.startswith("_")}
    finally:
        ledger.close()


def test_the_tables_of_the_ledger_are_those_of_the_page() -> None:
    section = (ROOT / "docs/architecture.md").read_text().split("| table | a row is |")[1].split("\n\n")[0]
    named = {name for line in section.splitlines() for name in words(line.split(" | ")[0])}
    assert named == set(metadata.tables)


def test_private_names_of_dagster_are_those_of_the_page() -> None:
    """An upgrade of Dagster begins at this list: it must be whole."""
    named = {
        (path, name)
        for row in table("architecture.md", "Private names of Dagster")
        for path in words(row[0])
        for name in words(row[1])
    }
    used = {
        (path.relative_to(PACKAGE).as_posix(), node.module)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dagster._")
    }
    assert named == used


def test_the_sensors_of_the_page_are_those_of_the_code(definitions: dg.RepositoryDefinition) -> None:
    """A sensor that launches nothing has no target."""
    named = {tuple(words(row[0])): words(row[1]) for row in table("operate.md", "Sensors")}
    sensors = {(each.name,): {target.job_name for target in each.targets} for each in definitions.sensor_defs}
    assert named == sensors


def test_the_jobs_of_the_page_are_those_of_the_code(definitions: dg.RepositoryDefinition) -> None:
    named = {name for row in table("operate.md", "Jobs") for name in words(row[0])}
    assert named == {job.name for job in definitions.get_all_jobs() if not job.name.startswith("__")}
    schedules = {name for row in table("operate.md", "Jobs") for name in words(row[1]) if name.startswith("nightly_")}
    assert schedules == {schedule.name for schedule in definitions.schedule_defs}


def test_the_checks_of_the_page_are_those_of_the_code(definitions: dg.RepositoryDefinition) -> None:
    named = {(name, of) for row in table("operate.md", "Checks") for name in words(row[0]) for of in words(row[1])}
    assert named == {(key.name, key.asset_key.to_user_string()) for key in definitions.asset_graph.asset_check_keys}


def test_the_lanes_of_the_page_have_the_priorities_of_the_code() -> None:
    rows = {next(iter(words(row[0]))): row for row in table("operate.md", "Who comes first")}
    assert {lane: int(row[3]) for lane, row in rows.items()} == {lane.value: PRIORITIES.get(lane, 0) for lane in Lane}
    assert rows["delete"][2] == str(CHUNKS_IN_FLIGHT)
    assert f"higher by {FIRST_RUN_BOOST})" in (ROOT / "docs/operate.md").read_text()


def test_ops_that_a_page_configures_exist(definitions: dg.RepositoryDefinition) -> None:
    ops = {node.name for job in definitions.get_all_jobs() for node in job.graph.nodes}
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"ops:\s*\{?\s*(\w+):", text))
    assert named
    assert named <= ops


def test_the_files_of_the_ten_changes_exist() -> None:
    assert len(EXTEND_ROWS) == 10
    named = {path for row in EXTEND_ROWS for cell in row[1:] for path in words(cell) if "/" in path or "." in path}
    missing = {path for path in named if not any((root / path).exists() for root in (ROOT, PACKAGE))}
    assert missing == set()


def test_the_counts_of_the_vectors_are_those_of_the_rows() -> None:
    page = (ROOT / "docs/decisions/vectors.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \|", page, flags=re.MULTILINE)
    areas = [area for names, _ in rows for area in names.split(",")]
    assert f"{sum(int(count) for _, count in rows)} rows in {len(areas)} areas" in page


def test_the_demo_has_as_many_pages_as_the_readme_says() -> None:
    assert len(DEFAULT_PLAN) == 30
    assert "thirty pages" in (ROOT / "README.md").read_text()
