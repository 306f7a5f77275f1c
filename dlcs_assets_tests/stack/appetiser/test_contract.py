from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image  # noqa: TID253 (checks pictures)

from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_testing.appetiser_pictures import page, quarters
from dlcs_testing.appetiser_service import Answer, Appetiser, served


def _source(folder: Path, name: str = "page.png") -> Path:
    path = folder / name
    quarters().save(path)
    return path


def _complaints(answer: Answer) -> dict[str, str]:
    assert answer.status == 422
    assert all(set(item) >= {"type", "loc", "msg", "input"} for item in answer.body["detail"])
    return {".".join(map(str, item["loc"])): item["type"] for item in answer.body["detail"]}


def test_ping_says_working(appetiser: Appetiser) -> None:
    response = appetiser.client.get("/ping")
    assert (response.status_code, response.json()) == (200, {"status": "working"})


def test_config_shows_what_is_in_effect(appetiser: Appetiser) -> None:
    shown = appetiser.client.get("/config").json()
    assert shown["workers"] == 2
    assert shown["max_pixels"] == 4_000_000
    assert shown["JPEG_QUALITY"] == 90
    assert shown["encoder"] == "OpenJPEG"
    assert shown["pixels_in_flight"] > 0


def test_ingest_makes_the_jp2_and_the_thumbnails(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    source = tmp_path / "scan.tif"
    page(1609, 2398).save(source)
    jp2 = tmp_path / "fol_73r_detail.jp2"
    answer = appetiser.convert(source, jp2, thumb_dir, operation="ingest", sizes=["!200,200", "!1000,1000", "9000,"])
    assert answer.status == 200
    assert answer.body == {
        "jobId": "3f2",
        "imageId": "page-1",
        "origin": "https://example.org/page-1",
        "optimisation": "kdu_max",
        "jp2": str(jp2),
        "width": 1609,
        "height": 2398,
        "thumbs": [
            {"path": f"{thumb_dir}/fol_73r_detail_671_1000.jpg", "width": 671, "height": 1000},
            {"path": f"{thumb_dir}/fol_73r_detail_134_200.jpg", "width": 134, "height": 200},
        ],
    }
    for thumb in answer.body["thumbs"]:
        with Image.open(thumb["path"]) as image:
            assert (image.format, image.size) == ("JPEG", (thumb["width"], thumb["height"]))
    assert jp2.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fol_73r_detail.jp2", "scan.tif", "thumbs"]


def test_image_only_makes_no_thumbnails(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    answer = appetiser.convert(_source(tmp_path), tmp_path / "o.jp2", thumb_dir, sizes=["10,"])
    assert answer.thumbs == []
    assert list(thumb_dir.iterdir()) == []
    assert (tmp_path / "o.jp2").is_file()


def test_derivatives_only_makes_no_jp2(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    source = _source(tmp_path)
    answer = appetiser.convert(
        source, tmp_path / "o.jp2", thumb_dir, operation="derivatives-only", sizes=["!48,48"], optimisation=None
    )
    assert answer.body["jp2"] == ""
    assert answer.body["optimisation"] is None
    assert answer.size == (96, 64)
    assert [path.name for path in thumb_dir.iterdir()] == ["page_48_32.jpg"]
    assert not (tmp_path / "o.jp2").exists()


def test_every_missing_field_is_named(appetiser: Appetiser) -> None:
    assert _complaints(appetiser.post({})) == {
        f"body.{field}": "missing" for field in ("jobId", "imageId", "origin", "source", "operation")
    }


def test_a_source_that_is_not_there_is_a_422(appetiser: Appetiser, tmp_path: Path) -> None:
    answer = appetiser.convert(tmp_path / "gone.tif", tmp_path / "o.jp2")
    assert answer.status == 422
    assert answer.body["detail"] == [
        {
            "type": "path_not_file",
            "loc": ["body", "source"],
            "msg": "Path does not point to a file",
            "input": str(tmp_path / "gone.tif"),
        }
    ]


def test_a_thumbnail_folder_that_is_not_there_is_a_422(appetiser: Appetiser, tmp_path: Path) -> None:
    answer = appetiser.convert(_source(tmp_path), tmp_path / "o.jp2", tmp_path / "gone", operation="ingest")
    assert _complaints(answer) == {"body.thumbDir": "path_not_directory"}


def test_the_jp2_and_the_thumbnails_need_a_destination(appetiser: Appetiser, tmp_path: Path) -> None:
    answer = appetiser.convert(_source(tmp_path), operation="ingest", sizes=["10,"])
    assert _complaints(answer) == {"body.destination": "missing", "body.thumbDir": "missing"}


def test_a_destination_in_no_folder_is_a_422(appetiser: Appetiser, tmp_path: Path) -> None:
    assert _complaints(appetiser.convert(_source(tmp_path), tmp_path / "gone" / "o.jp2")) == {
        "body.destination": "path_not_writable"
    }


@pytest.mark.parametrize("size", ["max", "pct:50", "!400,", "0,"])
def test_a_size_of_no_known_form_is_a_422(appetiser: Appetiser, tmp_path: Path, size: str) -> None:
    answer = appetiser.convert(_source(tmp_path), tmp_path / "o.jp2", sizes=["10,", size])
    assert _complaints(answer) == {"body.thumbIIIFSizes.1": "string_pattern_mismatch"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "optimisation",
            "kdu_fake",
            "Input should be 'kdu_low', 'kdu_med', 'kdu_med_layers', 'kdu_high' or 'kdu_max'",
        ),
        ("operation", "fake_operation", "Input should be 'ingest', 'image-only' or 'derivatives-only'"),
    ],
)
def test_an_unknown_name_is_a_422_that_lists_the_known(
    appetiser: Appetiser, tmp_path: Path, field: str, value: str, message: str
) -> None:
    changes: dict[str, Any] = {field: value}
    answer = appetiser.convert(_source(tmp_path), tmp_path / "o.jp2", **changes)
    assert answer.status == 422
    (item,) = answer.body["detail"]
    assert (item["type"], item["loc"], item["msg"]) == ("enum", ["body", field], message)


@pytest.mark.parametrize(("body", "kind"), [(b"{", "json_invalid"), (b"", "missing"), (b"[1]", "model_type")])
def test_an_invalid_body_is_a_422(appetiser: Appetiser, body: bytes, kind: str) -> None:
    response = appetiser.client.post("/convert", content=body)
    assert response.status_code == 422
    (item,) = response.json()["detail"]
    assert item["type"] == kind
    assert item["loc"][0] == "body"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/convert", 405), ("GET", "/nope", 404)])
def test_other_requests_get_a_detail_too(appetiser: Appetiser, method: str, path: str, status: int) -> None:
    response = appetiser.client.request(method, path)
    assert response.status_code == status
    assert isinstance(response.json()["detail"], str)


def test_nothing_outside_the_roots_is_touched(tmp_path: Path) -> None:
    root = tmp_path / "scratch"
    root.mkdir()
    inside = _source(root)
    outside = _source(tmp_path, "secret.png")
    (root / "link.png").symlink_to(outside)
    with served(AppetiserConfig(roots=(root,), workers=1)) as service:
        assert service.convert(inside, root / "o.jp2").size == (96, 64)
        for source in (outside, root / ".." / "secret.png", root / "link.png", tmp_path / "gone.png"):
            assert _complaints(service.convert(source, root / "p.jp2")) == {"body.source": "path_outside_roots"}
        refused = service.convert(inside, tmp_path / "o.jp2", tmp_path, operation="ingest")
        assert _complaints(refused) == {
            "body.destination": "path_outside_roots",
            "body.thumbDir": "path_outside_roots",
        }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "secret.png"]


def test_names_are_taken_literally(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    # Appetiser hands them to a shell.
    name = "a b;touch c'$(touch d) -é"
    source = _source(tmp_path, f"{name}.png")
    answer = appetiser.convert(source, tmp_path / f"{name}.jp2", thumb_dir, operation="ingest", sizes=["48,"])
    assert answer.size == (96, 64)
    assert {path.name for path in tmp_path.iterdir()} == {"thumbs", f"{name}.png", f"{name}.jp2"}
    assert [path.name for path in thumb_dir.iterdir()] == [f"{name}_48_32.jpg"]
