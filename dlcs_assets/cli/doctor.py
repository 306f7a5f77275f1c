"""`dlcs doctor`: whether a deployment has all that it needs, as seen from where the command runs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer
from rich.text import Text

from dlcs_assets.cli import (
    doctor_aws,
    doctor_disks,
    doctor_dlcs,
    doctor_drift,
    doctor_image_server,
    doctor_parts,
    doctor_sensors,
)
from dlcs_assets.cli.connection import load_settings
from dlcs_assets.cli.doctor_finding import Check, Finding, Verdict, fail, failed, ok, warn
from dlcs_assets.cli.failure import FAILED, CommandError
from dlcs_assets.cli.output import echo_data, make_console, print_table
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.settings import Settings, unknown_variables

STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of objects instead.")] = False,
) -> None:
    """Check a deployment. Settings, customers, ledger, queues, buckets, services, disks; status 1 if a check fails."""
    findings = examine()
    if as_json:
        echo_data(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        _show(findings)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise typer.Exit(FAILED)


def examine() -> list[Finding]:
    """Make all checks; without usable settings there is nothing else to check."""
    try:
        settings = load_settings()
    except CommandError as failure:
        return [fail("settings", str(failure), "Correct the environment: docs/settings.md.")]
    found = ok("settings", f"valid; {_number_set(settings)} differ from the defaults")
    return [found, *_misspelt(os.environ), *_outside(settings)]


def _misspelt(environment: Iterable[str]) -> list[Finding]:
    return [
        warn("settings", str(unknown), "Correct the name, or unset the variable.")
        for unknown in unknown_variables(environment)
    ]


def _outside(settings: Settings) -> list[Finding]:
    modules = (doctor_parts, doctor_dlcs, doctor_sensors, doctor_drift, doctor_image_server, doctor_aws, doctor_disks)
    checks = [check for module in modules for check in module.CHECKS]
    # At the same time: a service that is down costs its whole timeout.
    with ThreadPoolExecutor(len(checks)) as pool:
        return [finding for found in pool.map(lambda check: _made(check, settings), checks) for finding in found]


def _made(check: Check, settings: Settings) -> list[Finding]:
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        return list(check(settings))
    except IngestError as error:
        return [failed(name, error)]
    except Exception as error:  # noqa: BLE001 (what answers there is not what it should be; the other checks continue)
        # The error's text is not shown: it may hold what it was given.
        return [
            fail(name, f"the check broke off with {type(error).__name__}", "Check that its address is the right one.")
        ]


def _number_set(settings: Settings) -> int:
    return sum(getattr(settings, name) != field.default for name, field in Settings.model_fields.items())


def _show(findings: Sequence[Finding]) -> None:
    console = make_console()
    rows = [(each.check, Text(each.verdict, style=STYLES[each.verdict]), each.whole()) for each in findings]
    print_table(console, ("check", "", "found"), rows)
    counts = Counter(finding.verdict for finding in findings)
    console.print(", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]))
