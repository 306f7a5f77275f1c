"""S3, SQS and SNS on the loopback interface: moto's server as a process, with the buckets and queues of the DLCS.

    python -m dlcs_stack.aws --port N

It keeps everything in memory, and in unnamed files under TMPDIR what is large: when it ends, all of it is gone.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from dlcs_stack.front_door import FrontDoor, StartResponse, WsgiApp, WsgiFrontDoor, add_option
from dlcs_stack.supervisor import Health, http_health

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CreateBucketConfigurationTypeDef

REGION: Final = "eu-west-1"
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "dlcs",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_DEFAULT_REGION": REGION,
}
STORAGE_BUCKET: Final = "dlcs-storage"
THUMBS_BUCKET: Final = "dlcs-thumbs"
ORIGIN_BUCKET: Final = "dlcs-origin"
MADE_LAST: Final = THUMBS_BUCKET  # when it exists, so do the others and the queues
INGEST_QUEUE: Final = "dlcs-image"
PRIORITY_QUEUE: Final = "dlcs-priority-image"
UPLOADS_QUEUE: Final = "dlcs-uploads"  # gets the events of the origin bucket
UPDATE_QUEUE: Final = "dlcs-asset-updated"  # these two get what the DLCS's API would say
DELETE_QUEUE: Final = "dlcs-asset-deleted"
BATCH_COMPLETED: Final = "dlcs-batch-completed"  # a topic, and a queue that gets what is published there
TRANSIENT_PREFIX: Final = "transient/"
TRANSIENT_DAYS: Final = 7
# Longer than a tick of a sensor may take (60 s), so that no message comes back while it is being taken in.
VISIBILITY_SECONDS: Final = 120


def queue_url(endpoint: str, queue: str) -> str:
    """Return the URL by which a queue is known; the account is moto's own."""
    return f"{endpoint}/123456789012/{queue}"


def topic_arn(topic: str) -> str:
    """Return the ARN by which a topic is known; the account is moto's own."""
    return f"arn:aws:sns:{REGION}:123456789012:{topic}"


def health(endpoint: str) -> Health:
    """Ready when the buckets, queues and the topic exist, too."""
    return http_health(f"{endpoint}/{MADE_LAST}")


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m dlcs_stack.aws", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    add_option(parser)
    arguments = parser.parse_args()
    os.environ.update(CREDENTIALS)
    # A large object is an open file for as long as it exists, and the usual limit is 1024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    # As moto's own command does it, but for the front door.
    os.environ.setdefault("MOTO_PORT", str(arguments.port))
    app = guarded(DomainDispatcherApplication(create_backend_app), arguments.allow_host)
    server = make_server(arguments.host, arguments.port, app, threaded=True, request_handler=MotoRequestHandler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    threading.Thread(target=_create_all, args=[arguments.host, arguments.port], daemon=True).start()
    server.serve_forever()


def guarded(app: WsgiApp, hosts: Sequence[str] = ()) -> WsgiApp:
    """Return moto's application behind the front door.

    Queues take orders by GET as well, which links of foreign pages may send where a browser does not say whose they
    are: they are refused. No client of AWS sends them.
    """

    def posted_only(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" and "Action" in parse_qs(environ.get("QUERY_STRING", "")):
            start_response("405 Method Not Allowed", [("Allow", "POST"), ("Content-Length", "0")])
            return [b""]
        return app(environ, start_response)

    return WsgiFrontDoor(posted_only, FrontDoor(tuple(hosts)))


def _create_all(host: str, port: int) -> None:
    """Make queues and buckets as soon as the server listens; without them the process is of no use and ends."""
    try:
        while not _listens(host, port):
            time.sleep(0.05)
        endpoint = f"http://{host}:{port}"
        _create_queues(endpoint)
        _create_topic(endpoint)
        _create_buckets(endpoint)
    except BaseException:  # noqa: BLE001 (whatever it is, nothing can work without them)
        traceback.print_exc()
        os._exit(1)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _create_queues(endpoint: str) -> None:
    import boto3

    sqs = boto3.client("sqs", endpoint_url=endpoint)
    for queue in (INGEST_QUEUE, PRIORITY_QUEUE, UPLOADS_QUEUE, UPDATE_QUEUE, DELETE_QUEUE):
        sqs.create_queue(QueueName=queue, Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})


def _create_topic(endpoint: str) -> None:
    import boto3

    boto3.client("sqs", endpoint_url=endpoint).create_queue(QueueName=BATCH_COMPLETED)
    sns = boto3.client("sns", endpoint_url=endpoint)
    sns.create_topic(Name=BATCH_COMPLETED)
    sns.subscribe(
        TopicArn=topic_arn(BATCH_COMPLETED),
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:{REGION}:123456789012:{BATCH_COMPLETED}",
        Attributes={"RawMessageDelivery": "true"},
    )


def _create_buckets(endpoint: str) -> None:
    import boto3

    s3 = boto3.client("s3", endpoint_url=endpoint)
    location: CreateBucketConfigurationTypeDef = {"LocationConstraint": REGION}
    s3.create_bucket(Bucket=STORAGE_BUCKET, CreateBucketConfiguration=location)
    s3.put_bucket_lifecycle_configuration(
        Bucket=STORAGE_BUCKET,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "transient-objects",
                    "Status": "Enabled",
                    "Filter": {"Prefix": TRANSIENT_PREFIX},
                    "Expiration": {"Days": TRANSIENT_DAYS},
                }
            ]
        },
    )
    s3.create_bucket(Bucket=ORIGIN_BUCKET, CreateBucketConfiguration=location)
    s3.put_bucket_notification_configuration(
        Bucket=ORIGIN_BUCKET,
        NotificationConfiguration={
            "QueueConfigurations": [
                {"QueueArn": f"arn:aws:sqs:{REGION}:123456789012:{UPLOADS_QUEUE}", "Events": ["s3:ObjectCreated:*"]}
            ]
        },
    )
    s3.create_bucket(Bucket=MADE_LAST, CreateBucketConfiguration=location)


if __name__ == "__main__":
    main()
