from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.appetiser import Appetiser, Conversion
from dlcs_assets.clients.appetiser_answer import refusal_text
from dlcs_assets.clients.image_server_answer import ThumbnailBytes
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_testing.pictures import jpeg
from dlcs_testing.scripted_server import Answer, Asked, ScriptedServer, refused_url, scripted_server


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), (("Content-Type", "application/json"),))


CONVERTED = answer({"jobId": "j", "imageId": "foo", "jp2": "/x/foo.jp2", "height": 2398, "width": 1609, "thumbs": []})


class Setting:
    """An Appetiser that writes what it is asked to, and the folder that both see."""

    def __init__(self, server: ScriptedServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.source = folder / "source.tif"
        self.source.write_bytes(b"II*\0")
        server.work = self.write
        self.writes = b"a JP2"

    def write(self, asked: Asked) -> None:
        if asked.method == "POST":
            Path(json.loads(asked.body)["destination"]).write_bytes(self.writes)

    def appetiser(self, **options: Any) -> Appetiser:
        defaults: dict[str, Any] = {"url": self.server.url, "first_delay_seconds": 0.001, "timeout_seconds": 5.0}
        return Appetiser(**(defaults | options))

    def convert(self, **options: Any) -> Conversion:
        appetiser = self.appetiser(**options)
        try:
            return appetiser.convert(
                job_id="job-1",
                image_id="foo",
                origin="https://example.org/foo.tif",
                source=self.source,
                destination=self.folder / "foo.jp2",
            )
        finally:
            appetiser.close()


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with scripted_server(CONVERTED) as server:
        yield Setting(server, tmp_path)


def test_a_conversion_requests_only_a_jp2_and_puts_it_in_place(setting: Setting) -> None:
    """Appetiser writes to a name of its own in the folder, and nothing but the JP2 stays of it."""
    conversion = setting.convert()
    assert (conversion.path, conversion.width, conversion.height) == (setting.folder / "foo.jp2", 1609, 2398)
    assert conversion.path.read_bytes() == b"a JP2"
    (asked,) = setting.server.asked
    body = json.loads(asked.body)
    destination = body.pop("destination")
    assert asked.path == "/convert"
    assert Path(destination).parent == setting.folder
    assert destination.endswith(".jp2")
    assert body == {
        "jobId": "job-1",
        "imageId": "foo",
        "origin": "https://example.org/foo.tif",
        "source": str(setting.source),
        "operation": "image-only",
        "optimisation": "kdu_max",
        "thumbIIIFSizes": [],
    }
    assert sorted(path.name for path in setting.folder.iterdir()) == ["foo.jp2", "source.tif"]


def test_paths_are_sent_as_appetiser_sees_them(tmp_path: Path) -> None:
    appetiser = Appetiser(scratch_root=str(tmp_path), appetiser_scratch_root="/scratch/")
    assert appetiser.seen_by_appetiser(tmp_path / "run" / "a b.tif") == "/scratch/run/a b.tif"
    assert Appetiser().seen_by_appetiser(tmp_path / "a.tif") == str(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (422, '{"detail":[{"type":"path_not_file","loc":["source"]}]}', "source:  - "),
        (
            422,
            """{"detail":[
                {"type":"path_not_file","loc":["body","source"],
                 "msg":"Path does not point to a fail","input":"/path/to/file.jpg"},
                {"type":"path_not_directory","loc":["body","thumbDir"],
                 "msg":"Path does not point to a directory","input":"/output"}]}""",
            (
                "source: /path/to/file.jpg - Path does not point to a fail. "
                "thumbDir: /output - Path does not point to a directory"
            ),
        ),
        (422, '{"detail":[]}', "Appetiser Validation error"),
        (422, "not JSON", "Appetiser Validation error"),
        (404, '{"detail":"uh-oh"}', "uh-oh"),
        (500, '{"detail":"uh-oh"}', "uh-oh"),
        (500, '{"detail":" "}', "Unknown response from Appetiser"),
        (500, "[1]", "Unknown response from Appetiser"),
        (502, "<html>Bad gateway</html>", "Unknown response from Appetiser"),
        (500, '{"detail":"two\\nlines"}', "two lines"),
    ],
)
def test_refusals_are_summarised_as_the_dlcs_does(status: int, body: str, expected: str) -> None:
    assert refusal_text(status, body.encode()) == expected


def test_a_request_that_appetiser_refuses_is_permanent(setting: Setting) -> None:
    setting.server.answers = [
        answer(
            {"detail": [{"type": "enum", "loc": ["body", "optimisation"], "msg": "Input should be …", "input": "x"}]},
            422,
        )
    ]
    with pytest.raises(PermanentError) as caught:
        setting.convert()
    assert caught.value.code == "appetiser_refused"
    assert caught.value.cause == "Appetiser refused: optimisation: x - Input should be …"
    assert len(setting.server.asked) == 1


def test_a_source_that_only_we_see_is_waited_for(setting: Setting) -> None:
    """A shared volume may show a file to the other side a moment later."""
    not_yet = answer(
        {"detail": [{"type": "path_not_file", "loc": ["body", "source"], "msg": "No", "input": "/s"}]}, 422
    )
    setting.server.answers = [not_yet, CONVERTED]
    assert setting.convert().width == 1609
    setting.server.answers = [not_yet]
    with pytest.raises(TransientError) as caught:
        setting.convert()
    assert caught.value.code == "appetiser_cannot_see_source"


def test_an_image_that_cannot_be_converted_is_retried_once(setting: Setting) -> None:
    """Of five attempts two are made: a broken image must not cost as much as an outage."""
    setting.server.answers = [answer({"detail": "The image is cut off"}, 500)]
    with pytest.raises(PermanentError) as caught:
        setting.convert(attempts=5)
    assert caught.value.code == "conversion_failed"
    assert caught.value.cause == "Appetiser refused: The image is cut off"
    assert len(setting.server.asked) == 2
    assert [path.name for path in setting.folder.iterdir()] == ["source.tif"]


def fail_to_encode(setting: Setting, status: int = 1, padding: str = "") -> None:
    """Answer as Appetiser does when the program that it calls fails: with the command, and both paths in it."""
    destinations = [setting.folder / f"foo.{number}.jp2" for number in range(1, 6)]
    commands = [f"kdu_compress -i {setting.source} -o {each}{padding}" for each in destinations]
    details = [f"Command '{each}' returned non-zero exit status {status}." for each in commands]
    setting.server.answers = [answer({"detail": each}, 500) for each in details]


def test_the_number_of_an_attempt_does_not_change_the_verdict(setting: Setting) -> None:
    """The command holds the destination, which is a new one for each attempt."""
    fail_to_encode(setting, padding=" x" * 400)
    with pytest.raises(PermanentError) as caught:
        setting.convert(attempts=5)
    assert caught.value.code == "conversion_failed"
    assert str(setting.folder) not in caught.value.cause
    assert "use-original" in caught.value.remedy
    assert len(setting.server.asked) == 2


@pytest.mark.parametrize("status", [126, 127])
def test_an_encoder_that_does_not_start_is_a_service_down(setting: Setting, status: int) -> None:
    fail_to_encode(setting, status)
    with pytest.raises(ServiceDownError) as caught:
        setting.convert()
    assert caught.value.code == "appetiser_encoder_missing"


def test_an_encoder_that_was_killed_is_not_the_images_fault(setting: Setting) -> None:
    fail_to_encode(setting, 137)
    with pytest.raises(TransientError) as caught:
        setting.convert()
    assert caught.value.code == "appetiser_unavailable"


def test_a_path_that_its_shell_would_cut_is_named(setting: Setting) -> None:
    setting.folder = setting.folder / "a scratch"
    setting.folder.mkdir()
    fail_to_encode(setting)
    with pytest.raises(ServiceDownError) as caught:
        setting.convert()
    assert caught.value.code == "appetiser_path_unsafe"
    assert "a scratch" in caught.value.cause


def test_a_mode_that_it_does_not_know_is_refused_at_once(setting: Setting) -> None:
    text = "image_mode 'CMYK' is not in known list for kdu_compress"
    setting.server.answers = [answer({"detail": text}, 500)]
    with pytest.raises(PermanentError) as caught:
        setting.convert()
    assert "convert it to grey or RGB of 8 bits" in caught.value.remedy
    assert len(setting.server.asked) == 1


def test_a_failure_that_passes_is_not_the_images(setting: Setting) -> None:
    setting.server.answers = [answer({"detail": "A worker was killed"}, 500), CONVERTED]
    assert setting.convert().path.exists()


@pytest.mark.parametrize("text", ["[Errno 28] No space left on device", "Cannot allocate memory"])
def test_a_machine_that_is_full_is_not_the_images_fault(setting: Setting, text: str) -> None:
    setting.server.answers = [answer({"detail": text}, 500)]
    with pytest.raises(TransientError) as caught:
        setting.convert()
    assert caught.value.code == "appetiser_unavailable"
    assert len(setting.server.asked) == 3


@pytest.mark.parametrize("passing", [Answer(503), Answer(502, b"<html>"), Answer(429), Answer(fault="reset")])
def test_a_passing_trouble_is_overcome(setting: Setting, passing: Answer) -> None:
    setting.server.answers = [passing, passing, CONVERTED]
    assert setting.convert().height == 2398
    assert len(setting.server.asked) == 3


def test_each_attempt_writes_a_file_of_its_own(setting: Setting) -> None:
    """An attempt that timed out here may continue there, in the very file that its successor is writing."""
    setting.server.answers = [Answer(503), CONVERTED]
    setting.convert()
    first, second = (json.loads(asked.body)["destination"] for asked in setting.server.asked)
    assert first != second


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Answer(fault="hang"), "appetiser_timeout"),
        (Answer(fault="reset"), "appetiser_broke_off"),
        (Answer(503, b"", (("Retry-After", "3600"),)), "appetiser_unavailable"),
        (answer({"width": 0, "height": 5}), "appetiser_unreadable"),
        (answer({"jp2": "/x"}), "appetiser_unreadable"),
        (Answer(200, b"not JSON"), "appetiser_unreadable"),
    ],
)
def test_a_failure_that_may_pass_is_transient(setting: Setting, fault: Answer, code: str) -> None:
    setting.server.answers = [fault]
    with pytest.raises(TransientError) as caught:
        setting.convert(timeout_seconds=0.3, attempts=2)
    assert caught.value.code == code
    assert not isinstance(caught.value, ServiceDownError)


def test_the_time_of_retry_after_is_passed_on(setting: Setting) -> None:
    setting.server.answers = [Answer(503, b"", (("Retry-After", "1800"),))]
    with pytest.raises(TransientError) as caught:
        setting.convert()
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 1800
    assert len(setting.server.asked) == 1


@pytest.mark.parametrize("written", [None, b""])
def test_a_missing_jp2_is_not_accepted(setting: Setting, written: bytes | None) -> None:
    if written is None:
        setting.server.work = lambda _: None
    else:
        setting.writes = written
    with pytest.raises(TransientError) as caught:
        setting.convert()
    assert caught.value.code == "conversion_missing"


def test_a_missing_source_is_reported_before_appetiser_is_called(setting: Setting) -> None:
    setting.source.unlink()
    with pytest.raises(PermanentError) as caught:
        setting.convert()
    assert caught.value.code == "conversion_source_missing"
    assert setting.server.asked == []


def test_an_appetiser_that_is_down_is_a_service_down(setting: Setting) -> None:
    with pytest.raises(ServiceDownError) as caught:
        setting.convert(url=refused_url(), attempts=2)
    assert caught.value.code == "appetiser_down"
    assert "127.0.0.1" in caught.value.cause


def test_no_more_conversions_are_in_flight_than_allowed(setting: Setting) -> None:
    together = threading.Barrier(2, timeout=20)

    def work(asked: Asked) -> None:
        together.wait()  # two are there at the same time, and with a third the next pair would not come out even
        setting.write(asked)

    setting.server.work = work
    appetiser = setting.appetiser(in_flight=2)

    def convert(number: int) -> int:
        destination = setting.folder / f"{number}.jp2"
        return appetiser.convert(
            job_id=str(number), image_id="x", origin="o", source=setting.source, destination=destination
        ).width

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(convert, range(6))) == [1609] * 6
    appetiser.close()
    assert setting.server.max_at_once == 2


def test_ping_returns_whether_it_works(setting: Setting) -> None:
    setting.server.by_path["/ping"] = answer({"status": "working"})
    appetiser = setting.appetiser()
    assert appetiser.ping()
    setting.server.by_path["/ping"] = Answer(503)
    assert not appetiser.ping()
    appetiser.close()
    down = setting.appetiser(url=refused_url())
    assert not down.ping()
    down.close()


def test_a_closed_client_opens_again(setting: Setting) -> None:
    appetiser = setting.appetiser()
    setting.server.by_path["/ping"] = answer({"status": "working"})
    assert appetiser.ping()
    appetiser.close()
    assert appetiser.ping()
    appetiser.close()


def test_errors_show_no_credentials(setting: Setting) -> None:
    with pytest.raises(IngestError) as caught:
        setting.convert(url=refused_url().replace("//", "//user:secret@"), attempts=1)
    assert "secret" not in str(caught.value)


LARGE, SMALL = Size(40, 30), Size(20, 15)
LISTED = answer(
    {
        "jp2": "",
        "thumbs": [
            {"path": "/seen/elsewhere/t/source_40_30.jpg", "width": 40, "height": 30},
            {"path": "/seen/elsewhere/t/source_20_15.jpg", "width": 20, "height": 15},
        ],
    }
)
WHOLE = {"source_40_30.jpg": jpeg(40, 30), "source_20_15.jpg": jpeg(20, 15)}


def thumbnails(setting: Setting, *writes: dict[str, bytes], by_way_of_jp2: bool = False) -> list[ThumbnailBytes]:
    """Ask for two; the last of `writes` is what Appetiser writes again and again."""
    remaining = list(writes)

    def write(asked: Asked) -> None:
        for name, data in (remaining.pop(0) if len(remaining) > 1 else remaining[0]).items():
            (Path(json.loads(asked.body)["thumbDir"]) / name).write_bytes(data)

    setting.server.work = write
    appetiser = setting.appetiser()
    try:
        return appetiser.thumbnails(
            job_id="job-1",
            image_id="foo",
            origin="https://example.org/foo.tif",
            source=setting.source,
            sizes=[SMALL, LARGE],
            by_way_of_jp2=by_way_of_jp2,
        )
    finally:
        appetiser.close()


def test_thumbnails_are_requested_and_returned_by_their_pixels(setting: Setting) -> None:
    """Appetiser lists them in an order of its own: data must not be returned under another's size."""
    setting.server.answers = [LISTED]
    found = thumbnails(setting, WHOLE)
    assert [(each.size, each.data) for each in found] == [
        (SMALL, WHOLE["source_20_15.jpg"]),
        (LARGE, WHOLE["source_40_30.jpg"]),
    ]
    (asked,) = setting.server.asked
    body = json.loads(asked.body)
    assert Path(body.pop("thumbDir")).parent == setting.folder
    assert body == {
        "jobId": "job-1",
        "imageId": "foo",
        "origin": "https://example.org/foo.tif",
        "source": str(setting.source),
        "operation": "derivatives-only",
        "optimisation": "kdu_max",
        "thumbIIIFSizes": ["^20,15", "^40,30"],
    }
    assert [path.name for path in setting.folder.iterdir()] == ["source.tif"]


def test_thumbnails_made_by_way_of_a_jp2_leave_no_jp2(setting: Setting) -> None:
    setting.server.answers = [LISTED]
    assert len(thumbnails(setting, {**WHOLE, "picture.jp2": b"a JP2"}, by_way_of_jp2=True)) == 2
    body = json.loads(setting.server.asked[0].body)
    assert body["operation"] == "ingest"
    assert Path(body["destination"]) == Path(body["thumbDir"]) / "picture.jp2"
    assert [path.name for path in setting.folder.iterdir()] == ["source.tif"]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ({}, "thumbnail_missing"),
        ({**WHOLE, "source_40_30.jpg": b""}, "thumbnail_unreadable"),
        ({**WHOLE, "source_40_30.jpg": jpeg(40, 30)[:-40]}, "thumbnail_unreadable"),
        ({**WHOLE, "source_40_30.jpg": b"<html>"}, "thumbnail_unreadable"),
        ({**WHOLE, "source_40_30.jpg": jpeg(40, 31)}, "thumbnail_wrong_size"),
    ],
)
def test_a_thumbnail_is_not_accepted_until_it_was_decoded(
    setting: Setting, written: dict[str, bytes], code: str
) -> None:
    setting.server.answers = [LISTED]
    with pytest.raises(TransientError) as caught:
        thumbnails(setting, written)
    assert caught.value.code == code
    assert len(setting.server.asked) == 3
    folders = {json.loads(asked.body)["thumbDir"] for asked in setting.server.asked}
    assert len(folders) == 3
    assert len(thumbnails(setting, written, WHOLE)) == 2


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"thumbs": []}, "thumbnail_missing"),
        ({"thumbs": [{"path": "/t/..", "width": 20, "height": 15}]}, "thumbnail_missing"),
        ({"thumbs": [{"path": 3, "width": 20, "height": 15}]}, "appetiser_unreadable"),
        ({}, "appetiser_unreadable"),
    ],
)
def test_an_answer_without_thumbnails_is_requested_again(setting: Setting, said: dict[str, Any], code: str) -> None:
    setting.server.answers = [answer(said)]
    with pytest.raises(TransientError) as caught:
        thumbnails(setting, WHOLE)
    assert caught.value.code == code
    assert len(setting.server.asked) == 3


def test_a_folder_that_only_we_see_is_waited_for(setting: Setting) -> None:
    unseen = {"type": "path_not_directory", "loc": ["body", "thumbDir"], "msg": "No", "input": "/t"}
    setting.server.answers = [answer({"detail": [unseen]}, 422), LISTED]
    assert len(thumbnails(setting, WHOLE)) == 2


def test_a_file_without_a_suffix_gets_that_of_its_format(setting: Setting) -> None:
    """Appetiser would encode a JP2 again if it is not named as one."""
    setting.source = setting.source.rename(setting.folder / "original")
    setting.source.write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 ")
    setting.convert()
    (asked,) = setting.server.asked
    named = Path(json.loads(asked.body)["source"])
    assert named.name == "original.jp2"
    assert named.read_bytes() == setting.source.read_bytes()
