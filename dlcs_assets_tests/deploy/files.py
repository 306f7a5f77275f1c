"""The files of deploy/, with the values of parameters.env in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template
from typing import Any

DEPLOY = Path(__file__).parents[2] / "deploy"
PARAMETERS = dict(re.findall(r"^([A-Z_]+)=(.*)$", (DEPLOY / "parameters.env").read_text(), flags=re.MULTILINE))
# Without the dashboard: its variables are Grafana's own.
JSON_FILES = sorted(set(DEPLOY.glob("*/*.json")) - set(DEPLOY.glob("grafana/*")))
ECS_FILES = sorted(DEPLOY.glob("ecs/*.json"))
POLICIES = sorted(DEPLOY.glob("iam/*.json"))


def name_of(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def load(path: Path) -> Any:
    return json.loads(Template(path.read_text()).substitute(PARAMETERS))


def load_named(name: str) -> Any:
    return load(DEPLOY / name)


def check_shape(service: str, operation: str, value: Any) -> str:
    """Return what botocore's description of the operation has against the value."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    assert model.input_shape is not None
    report: str = ParamValidator().validate(value, model.input_shape).generate_report()
    return report
