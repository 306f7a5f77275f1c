"""Images on their whole way with an Appetiser that is as Appetiser 2.1.0 is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.stack import RunningStack
from dlcs_testing.appetiser_service import served
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.proxy import Proxy, proxy_to

DEFAULT = "iiif-img:default,thumbs:default"


@pytest.fixture(scope="module")
def appetiser(services: RunningStack) -> Iterator[Callable[..., Proxy]]:
    with ExitStack() as opened:

        def start(**options: Any) -> Proxy:
            config = AppetiserConfig(workers=1, faults=True, roots=(services.data / "scratch",), **options)
            service = opened.enter_context(served(config))
            return opened.enter_context(proxy_to(str(service.client.base_url).rstrip("/")))

        yield start


@pytest.mark.parametrize("mode", ["CMYK", "P", "LA", "I;16"])
def test_what_its_encoder_does_not_know_ends_with_what_to_do(
    make_pipeline: Callable[..., Pipeline], appetiser: Callable[..., Proxy], mode: str
) -> None:
    """It is converted once, and a picture of ours after it, which shows that Appetiser works."""
    proxy = appetiser()
    pipeline = make_pipeline(appetiser_url=proxy.url)
    picture = drawing(120, 90, mode="L").convert(mode) if mode != "CMYK" else drawing(120, 90, mode="CMYK")
    status = pipeline.ingest("2/1/page", pipeline.serve("page.tif", encoded(picture, "TIFF")), DEFAULT)
    assert (status.state, status.error_code) == ("failed", "conversion_failed")
    assert "use the image policy use-original" in str(status.error_remedy)
    assert (proxy.count("POST", "/convert"), status.attempts) == (2, 1)
    assert pipeline.left_in_scratch() == []


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_without_a_range_are_refused_before_it_is_asked(
    make_pipeline: Callable[..., Pipeline], appetiser: Callable[..., Proxy], mode: str
) -> None:
    proxy = appetiser()
    pipeline = make_pipeline(appetiser_url=proxy.url)
    picture = encoded(drawing(120, 90, mode="L").convert(mode), "TIFF")
    status = pipeline.ingest("2/1/page", pipeline.serve("page.tif", picture), DEFAULT)
    assert (status.state, status.error_code) == ("failed", "image_unsupported")
    assert proxy.count("POST", "/convert") == 0


def test_without_its_encoder_images_wait(
    make_pipeline: Callable[..., Pipeline], appetiser: Callable[..., Proxy]
) -> None:
    pipeline = make_pipeline(appetiser_url=appetiser(broken_encoder=True).url)
    pipeline.send(full_message("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), DEFAULT))
    pipeline.work()
    status = pipeline.status("2/1/page")
    assert (status.state, status.attempts) == ("pending", 0)
    assert "can't start its encoder" in str(status.reason)
    pipeline.use(appetiser_url=appetiser().url)
    pipeline.settle()
    assert pipeline.status("2/1/page").state == "done"
