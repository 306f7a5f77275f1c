"""Secrets are planted wherever they can come from, and searched for in everything that comes out."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.fernet import Fernet

from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import Selection
from dlcs_stack.data_folder import STATE
from dlcs_stack.stack import Component, RunningStack, Stack
from dlcs_testing.code_locations import impatient_instance
from dlcs_testing.http_serving import Answer, serving
from dlcs_testing.pictures import jpeg
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System, full_message

pytestmark = pytest.mark.e2e

CUSTOMER = 7
MARK = "pl4nted"
THUMBS = ({"channel": "iiif-img", "policy": "default"}, {"channel": "thumbs", "policy": "default"})
CONFIGURATION = f"""
customers:
  {CUSTOMER}:
    origins:
      - {{id: library, regex: '/locked/', strategy: basic-http-authentication, credentials: 'env:LIBRARY', order: 1}}
      - {{id: wrong, regex: '/wrong/', strategy: basic-http-authentication, credentials: 'env:WRONG', order: 2}}
      - {{id: broken, regex: '/broken/', strategy: basic-http-authentication, credentials: 'env:BROKEN', order: 3}}
      - {{id: stored, regex: '/stored/', strategy: basic-http-authentication, order: 4,
         credentials: 's3://dlcs-storage/secrets/login.json'}}
      - {{id: shelf, regex: '^sftp://', strategy: sftp, credentials: 'env:SHELF', order: 5,
       known_hosts: ['[127.0.0.1]:1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q']}}
"""


# Each command in a process of its own, which has what it needs imported.
EACH_IN_A_FORK = """
import gc, json, os, sys
import boto3, cryptography.fernet, sqlalchemy
from dlcs_assets import customers
from dlcs_assets.cli import app_for

folder, commands = sys.argv[1], json.loads(sys.argv[2])
gc.freeze()
for number, command in enumerate(commands):
    child = os.fork()
    if not child:
        printed = os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        code = 2
        try:
            app_for(command)(command)
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, 1}:
        sys.exit(f"{command} ended with {status}")
"""


@dataclass
class Planted:
    """Secrets, each by where it is planted."""

    found_by: dict[str, str] = field(default_factory=dict)

    def __call__(self, where: str) -> str:
        """Return a new secret for a place."""
        return self.found_by.setdefault(where, f"{MARK}{len(self.found_by):02}{os.urandom(5).hex()}")

    def those_in(self, data: bytes) -> list[str]:
        """Return the places of the secrets that the data shows, as they are or as base64 has them."""
        return [where for where, secret in self.found_by.items() if any(form in data for form in _forms(secret))]


def _forms(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    for shift in range(3):  # inside of something longer, base64 has one of three forms
        yield base64.b64encode(b" " * shift + secret.encode())[4 * bool(shift) : -4]


@dataclass
class World:
    """A system with secrets all over, and what is known of it."""

    system: System
    stack: RunningStack
    planted: Planted
    origin: str

    def run(self, commands: Sequence[Sequence[str]], folder: Path) -> dict[str, bytes]:
        """Return what each command prints."""
        environment = {**os.environ, **self.stack.environment}
        program = [sys.executable, "-c", EACH_IN_A_FORK, str(folder), json.dumps(commands)]
        done = subprocess.run(program, env=environment, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return {f"dlcs {' '.join(command)}": (folder / str(n)).read_bytes() for n, command in enumerate(commands)}


def answers(planted: Planted) -> Mapping[str, Answer]:
    """Return what the origin's server says, by path: secrets wherever a server may put one."""
    away = f"ftp://user:{planted('password in a redirect')}@example.org/x?{planted('query in a redirect')}"
    signed = f"/good.jpg?X-Amz-Signature={planted('signature in a redirect')}"
    astray = f"/missing.jpg?sig={planted('signature in a redirect that fails')}"
    good = jpeg(160, 120)
    broken = good[: len(good) // 2] + planted("bytes of a broken image").encode()
    return {
        "/good.jpg": Answer(200, good, {"Set-Cookie": f"session={planted('cookie')}"}),
        "/redirect.jpg": Answer(302, b"", {"Location": signed}),
        "/astray.jpg": Answer(302, b"", {"Location": astray}),
        "/elsewhere.jpg": Answer(302, b"", {"Location": away}),
        "/page.jpg": Answer(200, f"<html>{planted('body that is no image')}".encode()),
        "/broken.jpg": Answer(200, broken),
        "refused": Answer(
            401,
            planted("body of a refusal").encode(),
            {"WWW-Authenticate": f"Basic realm={planted('realm')}"},
        ),
        "missing": Answer(404, planted("body of an error").encode()),
    }


@contextmanager
def library(planted: Planted) -> Iterator[str]:
    """Serve originals; return host and port."""
    said = answers(planted)
    locked = {
        "/locked": basic(planted("password of an origin, from the environment")),
        "/wrong": "Basic of another user",
        "/stored": basic(planted("password of an origin, from S3")),
    }
    more = {"X-Token": planted("header of an answer"), "Content-Type": "image/jpeg"}

    def answer(_method: str, target: str, headers: dict[str, str], _body: bytes) -> Answer:
        room, _, name = target.partition("?")[0].rpartition("/")
        refused = room in locked and headers.get("authorization") != locked[room]
        answer = said["refused"] if refused else said.get(f"/{name}", said["missing"])
        return replace(answer, headers={**answer.headers, **more})

    with serving(answer) as url:
        yield url.removeprefix("http://")


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'librarian:{password}'.encode()).decode()}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    planted, folder = Planted(), tmp_path_factory.mktemp("secrets")
    with library(planted) as origin:
        customers = folder / "customers.yaml"
        customers.write_text(CONFIGURATION)
        settings = {
            "AWS_ACCESS_KEY_ID": planted("access key"),
            "AWS_SECRET_ACCESS_KEY": planted("secret key of AWS"),
            "DLCS_CUSTOMERS_FILE": str(customers),
            "DLCS_PRIVATE_NETWORKS": "127.0.0.0/8",
            "DLCS_ATTEMPTS": "1",
            "DLCS_LEDGER_KEY": Fernet.generate_key().decode(),
            "DLCS_LOG_FORMAT": "json",
            "LIBRARY": login(planted("password of an origin, from the environment")),
            "WRONG": login(planted("password that is refused")),
            "BROKEN": f"{{'user': {planted('credentials that are no JSON')}",
            "SHELF": login(planted("password of an SFTP server")),
        }
        planted.found_by["key of the ledger"] = settings["DLCS_LEDGER_KEY"]
        stack = Stack(folder / "stack", settings=settings, instance=impatient_instance(folder, start_seconds=45))
        with stack.running() as running:
            yield World(System(running.environment), running, planted, origin)


def login(password: str) -> str:
    return json.dumps({"user": "librarian", "password": password})


def origins(world: World) -> Mapping[str, str]:
    """Return an origin for each way in which a secret may come along, by the image's name."""
    plant, host = world.planted, world.origin

    def query(of: str) -> str:
        return f"X-Amz-Credential={plant(f'credential of {of}')}&X-Amz-Signature={plant(f'signature of {of}')}"

    return {
        "signed": f"http://{host}/good.jpg?{query('signed')}",
        "signed-missing": f"http://{host}/missing.jpg?{query('signed-missing')}",
        "query": f"http://{host}/good.jpg?id=7&token={plant('token in a query')}",
        "userinfo": f"http://user:{plant('password in an address')}@{host}/good.jpg",
        "locked": f"http://{host}/locked/good.jpg",
        "wrong": f"http://{host}/wrong/good.jpg",
        "broken-credentials": f"http://{host}/broken/good.jpg",
        "stored": f"http://{host}/stored/good.jpg",
        "redirect": f"http://{host}/redirect.jpg?{query('redirect')}",
        "astray": f"http://{host}/astray.jpg",
        "elsewhere": f"http://{host}/elsewhere.jpg",
        "page": f"http://{host}/page.jpg?{query('page')}",
        "broken": f"http://{host}/broken.jpg?{query('broken')}",
        "sftp": f"sftp://user:{plant('password in an SFTP address')}@127.0.0.1:1/good.jpg",
        "nowhere": f"http://nowhere.invalid/good.jpg?{query('nowhere')}",
        "closed-port": f"http://127.0.0.1:1/good.jpg?{query('closed port')}",
    }


def rejected(world: World) -> Sequence[str]:
    """Return messages that cannot be used, with secrets in them."""
    plant = world.planted
    password, signature = plant("password in a rejected message"), plant("signature in a rejected message")
    url = f"https://user:{password}@example.org/x?sig={signature}"
    bad = full_message(f"{CUSTOMER}/1/bad", url, [{"channel": "thumbs", "policy": "nope"}])
    ftp = f"ftp://user:{plant('password in a bad scheme')}@example.org/?q={plant('query in a bad scheme')}"
    scheme = full_message(f"{CUSTOMER}/1/scheme", ftp, THUMBS)
    return [json.dumps(bad), json.dumps(scheme), json.dumps(bad)[:-20], f'{{"asset": {{"origin": "{url}"}}}}']


def test_the_planted_secrets_are_found_nowhere(world: World, tmp_path: Path) -> None:
    asked = origins(world)
    world.system.s3.put_object(
        Bucket="dlcs-storage", Key="secrets/login.json", Body=login(world.planted("password of an origin, from S3"))
    )
    messages = [json.dumps(full_message(f"{CUSTOMER}/1/{name}", origin, THUMBS)) for name, origin in asked.items()]
    for body in [*messages, *rejected(world)]:
        world.system.sqs.send_message(QueueUrl=world.system.environment["DLCS_INGEST_QUEUE_URL"], MessageBody=body)

    states = eventually(
        lambda: {key: status.state for key, status in ledger_images(world).items()},
        lambda seen: len(seen) == len(asked) + 2 and not {"pending", "running"} & set(seen.values()),
        timeout=120,
    )

    done = {key.rpartition("/")[2] for key, state in states.items() if state == "done"}
    assert done == {"signed", "query", "userinfo", "locked", "stored", "redirect"}
    shown = world.run(list(commands(asked)), tmp_path)
    shown |= graphql(world)
    assert all(shown.values())
    leaks = {where: world.planted.those_in(data) for where, data in shown.items()}
    leaks |= {f"S3: {key}": world.planted.those_in(data) for key, data in objects(world)}
    assert open_to_others(world) == []
    for component in Component:  # so that no file changes or goes while it is read
        world.stack.stop(component)
    leaks |= {str(path): world.planted.those_in(path.read_bytes()) for path in files(world)}
    assert {where: secrets for where, secrets in leaks.items() if secrets} == {}
    # Or the search could find nothing at all:
    assert world.planted.those_in(json.dumps(dict(world.stack.environment)).encode())
    assert len(world.planted.found_by) >= 40


def ledger_images(world: World) -> Mapping[str, Any]:
    ledger = Ledger(world.stack.environment["DLCS_LEDGER_URL"], world.stack.environment["DLCS_LEDGER_KEY"])
    try:
        return {status.asset_id: status for status in ledger.reports.images(Selection(customer=CUSTOMER))}
    finally:
        ledger.close()


def commands(asked: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    yield from (("status",), ("status", "--json"), ("rejected",), ("rejected", "--json"), ("usage",), ("stale",))
    yield from (
        ("doctor",),
        ("doctor", "--json"),
        ("metrics",),
        ("reprocess", "--customer", str(CUSTOMER), "--dry-run"),
    )
    for name in asked:
        yield ("status", f"{CUSTOMER}/1/{name}")
        yield ("plan", f"{CUSTOMER}/1/{name}")


def graphql(world: World) -> dict[str, bytes]:
    """Return what the UI shows that is in no file: the configuration of resources."""
    location = {"repositoryName": "__repository__", "repositoryLocationName": "dlcs-assets"}
    query = """query Resources($where: RepositorySelector!) {
      allTopLevelResourceDetailsOrError(repositorySelector: $where) { __typename
        ... on ResourceDetailsList { results { name configuredValues { key value } } } } }"""
    url = f"{world.stack.environment['DLCS_UI_URL']}/graphql"
    answer = httpx.post(url, json={"query": query, "variables": {"where": location}}, timeout=60)
    assert b"ledger" in answer.content
    return {"resources in the UI": answer.content}


def files(world: World) -> Iterator[Path]:
    """Return all files of the system: the ledger, Dagster's history, logs of all processes, scratch."""
    kept = [path for path in world.stack.data.rglob("*") if path.is_file() and path.name != STATE]
    assert {"ledger.db"} < {path.name for path in kept}
    yield from kept


def open_to_others(world: World) -> list[str]:
    """Return what another user of this machine could read or enter: files, folders, sockets, SQLite's -wal and -shm."""
    found = [world.stack.data, *world.stack.data.rglob("*")]
    assert {"ledger.db", "ledger.db-wal", "dagster.yaml", "daemon.log"} <= {path.name for path in found}
    return [str(path) for path in found if path.exists() and path.lstat().st_mode & 0o077]


def objects(world: World) -> Iterator[tuple[str, bytes]]:
    for bucket in ("dlcs-storage", "dlcs-thumbs"):
        for item in world.system.s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
            if item["Key"].startswith("secrets/"):
                continue
            found = world.system.s3.get_object(Bucket=bucket, Key=item["Key"])
            yield f"{bucket}/{quote(item['Key'])}", found["Body"].read() + json.dumps(found["Metadata"]).encode()
