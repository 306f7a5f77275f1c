"""Writes templates.

python -m dlcs_aws                           the two of templates/
python -m dlcs_aws --size small --arrangement efs --network existing --buckets existing --output mine.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import aws_cdk as cdk

from dlcs_aws.choices import SIZES, Arrangement, Choices, Origin
from dlcs_aws.stack import write_stack

TEMPLATES = Path(__file__).parents[1] / "templates"


def write(wanted: Mapping[Path, Choices]) -> None:
    """Write a template for each of the choices."""
    with tempfile.TemporaryDirectory() as folder:
        # cfn-lint looks at the templates. CDK's own rules take minutes, and gigabytes, for combinations of conditions.
        app = cdk.App(outdir=folder, analytics_reporting=False, builtin_cloud_formation_validation=False)
        names = {f"ingest{number}": path for number, path in enumerate(wanted)}
        for name, choices in zip(names, wanted.values(), strict=True):
            write_stack(app, name, choices)
        app.synth()
        for name, path in names.items():
            made = json.loads((Path(folder) / f"{name}.template.json").read_text())
            path.write_text(json.dumps(made, indent=1) + "\n")


def main() -> None:
    """Write what the arguments say."""
    parser = argparse.ArgumentParser(prog="dlcs_aws", description="Write CloudFormation templates of an installation.")
    parser.add_argument(
        "--folder", type=Path, default=TEMPLATES, help="where templates are written (default: %(default)s)"
    )
    parser.add_argument(
        "--size", choices=SIZES, help="one template of one's own, of this size; default: those of the folder"
    )
    parser.add_argument("--arrangement", type=Arrangement, default=Arrangement.SERVICE, choices=list(Arrangement))
    for what in ("network", "buckets"):
        parser.add_argument(f"--{what}", type=Origin, default=Origin.NEW, choices=list(Origin))
    parser.add_argument(
        "--output", type=Path, default=Path("template.json"), help="of one's own (default: %(default)s)"
    )
    given = parser.parse_args()
    if given.size is None:
        write({given.folder / f"{size}.json": Choices(SIZES[size]) for size in SIZES})
    else:
        write({given.output: Choices(SIZES[given.size], given.arrangement, given.network, given.buckets)})


if __name__ == "__main__":
    main()
