from __future__ import annotations

from dlcs_assets.defs.sensors.dispatch import plan_chunks
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger.records import DueImage

ALL = frozenset(STAGES)
THUMBNAILS = frozenset({Stage.THUMBNAILS})


def due(image: str, stages: frozenset[Stage] = ALL, losses: int = 0, backfill: int | None = None) -> DueImage:
    return DueImage(f"request of {image}", AssetId.parse(image), stages, None, losses, backfill)


def images_of(planned: list[DueImage], chunk_size: int = 10, lane: Lane = Lane.INGEST) -> list[list[str]]:
    chunks = plan_chunks(planned, lane, chunk_size)
    return [[str(image.asset_id) for image in chunk.images] for chunk in chunks]


def test_a_chunk_is_of_one_customer_and_one_space() -> None:
    planned = [due("2/1/a"), due("2/2/a"), due("3/1/a"), due("2/1/b")]
    assert images_of(planned) == [["2/1/a", "2/1/b"], ["2/2/a"], ["3/1/a"]]


def test_images_of_other_stages_get_a_run_of_their_own() -> None:
    assert images_of([due("2/1/a"), due("2/1/b", THUMBNAILS), due("2/1/c")]) == [["2/1/a", "2/1/c"], ["2/1/b"]]


def test_images_that_may_kill_a_run_are_apart_from_others() -> None:
    """After a second loss each goes alone; after a first one they are together, so that few are in its company."""
    planned = [due("2/1/a"), due("2/1/b", losses=1), due("2/1/c", losses=2), due("2/1/d", losses=5)]
    planned += [due("2/1/e"), due("2/1/f", losses=1)]
    assert images_of(planned) == [["2/1/a", "2/1/e"], ["2/1/b", "2/1/f"], ["2/1/c"], ["2/1/d"]]


def test_images_of_two_backfills_are_in_runs_of_their_own() -> None:
    """So that a run can be found by its backfill; of images that a message made more urgent it does not matter."""
    planned = [due("2/1/a", backfill=1), due("2/1/b", backfill=2), due("2/1/c", backfill=1), due("2/1/d")]
    assert images_of(planned, lane=Lane.BACKFILL) == [["2/1/a", "2/1/c"], ["2/1/b"], ["2/1/d"]]
    assert images_of(planned) == [["2/1/a", "2/1/b", "2/1/c", "2/1/d"]]


def test_a_space_is_split_into_chunks_without_losing_an_image() -> None:
    """No chunk is larger than its size; the last one has what remains."""
    planned = [due(f"2/1/{number}") for number in range(7)]
    assert images_of(planned, 3) == [["2/1/0", "2/1/1", "2/1/2"], ["2/1/3", "2/1/4", "2/1/5"], ["2/1/6"]]


def test_the_order_is_that_in_which_the_images_were_due() -> None:
    assert images_of([due("2/1/z"), due("2/1/a"), due("2/1/m")]) == [["2/1/z", "2/1/a", "2/1/m"]]


def test_the_range_of_a_chunk_is_from_its_first_key_to_its_last() -> None:
    """Keys are encoded as Dagster has them, and each chunk has an id of its own: its run key."""
    chunks = plan_chunks([due("2/1/z"), due("2/1/a,b"), due("2/2/x")], Lane.RETRY, 10)
    assert [(chunk.first_key, chunk.last_key) for chunk in chunks] == [("@2/1/z", "@2/1/a%2Cb"), ("@2/2/x", "@2/2/x")]
    assert len({chunk.id for chunk in chunks}) == 2
    assert {chunk.lane for chunk in chunks} == {Lane.RETRY}


def test_without_images_there_are_no_chunks() -> None:
    assert plan_chunks([], Lane.INGEST, 10) == []
