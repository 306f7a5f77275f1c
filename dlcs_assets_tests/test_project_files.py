"""The files that a public project has: what they name exists, and what they say agrees with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    ".ci/run",
    ".github/workflows/security.yml",
    ".pre-commit-config.yaml",
    "docs/extend.md",
]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d{2}-\d{2})?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert PROJECT["version"] in headings


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert [(ROOT / name).read_text().split("\n", 1)[0] for name in PROJECT["license-files"]] == ["MIT License"]
    assert PROJECT["license"] == "MIT"


def test_the_workflow_runs_what_a_laptop_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert steps == [".ci/run"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_uses_actions_by_their_commits(workflow: Path) -> None:
    """A tag can be moved to other code. The comment says which version it is, and Dependabot changes both."""
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_public_base_images_are_named_by_their_digests() -> None:
    """Those that an operator builds or chooses are variables: `BASE`, `CANTALOUPE_IMAGE`, `APPETISER_IMAGE`."""
    named = re.findall(r"^FROM (\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    named += re.findall(r"image: ([^\s$]+)", (ROOT / "deploy/compose.yaml").read_text())
    assert len(named) == 3
    assert [each for each in named if not re.fullmatch(r"[\w.:-]+@sha256:[0-9a-f]{64}", each)] == []


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_has_what_the_host_requires(form: Path) -> None:
    content = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= content.keys()
    assert all(field["type"] == "markdown" or field["attributes"]["label"] for field in content["body"])


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"(?:^|`|entry: |run: )make ([a-z]+)", (ROOT / page).read_text(), flags=re.MULTILINE))
    assert named
    assert named <= TARGETS


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_index(lock: Path) -> None:
    """A mirror of the index must do: `requirements*.lock` have names, versions and hashes only (decision 0036)."""
    assert [line for line in lock.read_text().splitlines() if "://" in line or line.startswith("-")] == []


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    listed = set(re.findall(r": (\S+\.md)$", nav, flags=re.MULTILINE))
    assert listed - pages == set()
    assert {page for page in pages - listed if not page.startswith("decisions/")} == set()


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    files = {path.name for path in (ROOT / "docs/decisions").glob("*.md")} - {"README.md"}
    assert files == set(re.findall(r"\]\(([^)/]+\.md)\)", index))
