from __future__ import annotations

import re

import pytest

from dlcs_assets.domain.delivery import (
    DEFAULT_POLICIES,
    SEEDED_DEFAULTS,
    Channel,
    DefaultChannel,
    DeliveryChannel,
    Policies,
    RequestedChannel,
    check_requested,
    parse_requested_channels,
    resolve_channels,
    thumbnail_sizes,
)
from dlcs_assets.domain.errors import MessageRejectedError

SYSTEM_SIZES = ("!100,100", "!200,200", "!400,400", "!1024,1024")


def resolved(
    names: str | None, media_type: str | None, policies: Policies = DEFAULT_POLICIES, *, space: int = 1
) -> list[str]:
    """Resolve channels written as `iiif-img/default thumbs`."""
    requested = None
    if names is not None:
        pairs = [name.partition("/") for name in names.split()]
        requested = [RequestedChannel(Channel(channel), policy or None) for channel, _, policy in pairs]
    return [str(channel) for channel in resolve_channels(requested, media_type, policies, space=space)]


def test_channels_are_read_with_their_policies() -> None:
    value = [{"channel": "iiif-img", "policy": "default"}, {"Channel": "thumbs"}, {"channel": "file", "policy": ""}]
    assert parse_requested_channels(value) == (
        RequestedChannel(Channel.IIIF_IMG, "default"),
        RequestedChannel(Channel.THUMBS),
        RequestedChannel(Channel.FILE),
    )


def test_no_channels_and_default_channels_are_distinguished() -> None:
    """None means that the registered channels stay; 'default' replaces them by the defaults."""
    assert parse_requested_channels(None) is None
    assert parse_requested_channels([{"channel": "default"}]) == ()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], "channels_empty"),
        ("iiif-img", "field_malformed"),
        ({"channel": "iiif-img"}, "field_malformed"),
        (["iiif-img"], "field_malformed"),
        ([{"policy": "default"}], "field_malformed"),
        ([{"channel": "iiif-img", "policy": 1}], "field_malformed"),
        ([{"channel": "anything"}], "unknown_channel"),
        ([{"channel": "IIIF-IMG"}], "unknown_channel"),
        ([{"channel": "\ud800"}], "unknown_channel"),
        ([{"channel": "file"}, {"channel": "file", "policy": "none"}], "duplicate_channel"),
        ([{"channel": "none"}, {"channel": "file"}], "channel_must_be_alone"),
        ([{"channel": "default"}, {"channel": "file"}], "channel_must_be_alone"),
    ],
)
def test_channels_that_do_not_make_sense_are_refused(value: object, code: str) -> None:
    with pytest.raises(MessageRejectedError) as refused:
        parse_requested_channels(value)
    assert refused.value.code == code
    assert refused.value.cause.encode()


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("image/jpeg", ["iiif-img/default", "thumbs/default"]),
        ("image/unknown", ["iiif-img/default", "thumbs/default"]),
        ("IMAGE/TIFF", ["iiif-img/default", "thumbs/default"]),
        ("application/pdf", ["file/none"]),
        ("video/mp4", ["iiif-av/default-video"]),
        ("audio/mp3", ["iiif-av/default-audio"]),
    ],
)
def test_each_media_type_has_its_default_channels(media_type: str, expected: list[str]) -> None:
    assert resolved(None, media_type) == expected


@pytest.mark.parametrize("media_type", ["text/plain", "notValid/tiff", "x-image/jpeg", ""])
def test_a_media_type_without_default_channels_is_refused(media_type: str) -> None:
    """The code says that defaults are missing, not that the channels are malformed."""
    with pytest.raises(MessageRejectedError) as refused:
        resolved(None, media_type)
    assert refused.value.code == "no_default_channels"


def test_defaults_of_a_space_come_first_then_longer_patterns() -> None:
    """A general pattern must not win over a more specific one, nor over the space's own default."""
    rows = (
        *SEEDED_DEFAULTS,
        DefaultChannel("image/tiff", Channel.IIIF_IMG, "use-original"),
        DefaultChannel("*", Channel.IIIF_IMG, "default", space=7),
        DefaultChannel("image/*", Channel.FILE, "none", space=8),
    )
    policies = Policies(defaults=rows)
    assert resolved(None, "image/tiff", policies, space=1) == ["iiif-img/use-original", "thumbs/default"]
    assert resolved(None, "image/tiff", policies, space=7) == ["iiif-img/default", "thumbs/default"]
    assert resolved(None, "image/png", policies, space=8) == ["file/none", "iiif-img/default", "thumbs/default"]


def test_a_pattern_has_no_wildcard_but_the_star() -> None:
    assert DefaultChannel("image/svg+xml", Channel.FILE, "none").matches("image/svg+xml", 1)
    assert not DefaultChannel("image/?[j]*", Channel.FILE, "none").matches("image/xjpeg", 1)


@pytest.mark.parametrize(
    ("names", "media_type", "expected"),
    [
        ("iiif-img thumbs", "image/jpeg", ["iiif-img/default", "thumbs/default"]),
        ("iiif-img/use-original thumbs/large", "image/jpeg", ["iiif-img/use-original", "thumbs/large"]),
        ("file", "text/plain", ["file/none"]),
        ("file", None, ["file/none"]),
        ("none", "application/pdf", ["none/none"]),
        ("iiif-av", "audio/mp3", ["iiif-av/default-audio"]),
        ("iiif-av/of-its-own", "video/mp4", ["iiif-av/of-its-own"]),
        ("iiif-img/use-original file", None, ["iiif-img/use-original", "file/none"]),
    ],
)
def test_a_channel_without_a_policy_gets_its_default(names: str, media_type: str | None, expected: list[str]) -> None:
    assert resolved(names, media_type, Policies(thumbs={"large": ("!2000,2000",)})) == expected


@pytest.mark.parametrize(
    ("names", "media_type", "code"),
    [
        (None, None, "media_type_missing"),
        ("iiif-img thumbs/default", None, "media_type_missing"),
        ("iiif-img/lossless", None, "unknown_policy"),
        ("thumbs/large", "image/jpeg", "unknown_policy"),
        ("file/default", "image/jpeg", "unknown_policy"),
        ("iiif-img", "application/pdf", "channel_not_for_media_type"),
        ("iiif-img", "video/mp4", "channel_not_for_media_type"),
        ("thumbs/default", "notMatched/tiff", "channel_not_for_media_type"),
        ("iiif-av", "image/jpeg", "channel_not_for_media_type"),
    ],
)
def test_channels_that_do_not_fit_are_refused(names: str | None, media_type: str | None, code: str) -> None:
    with pytest.raises(MessageRejectedError) as refused:
        resolved(names, media_type)
    assert refused.value.code == code


def test_a_channel_that_is_not_a_default_needs_a_policy() -> None:
    """Where the media type has no default for the channel, no other type's default may be used."""
    policies = Policies(defaults=(DefaultChannel("image/jpeg", Channel.IIIF_IMG, "default"),))
    with pytest.raises(MessageRejectedError) as refused:
        resolved("iiif-img", "image/tiff", policies)
    assert refused.value.code == "policy_not_matched"
    assert resolved("iiif-img/default", "image/tiff", policies) == ["iiif-img/default"]


def test_policies_can_be_checked_before_the_media_type_is_known() -> None:
    check_requested(None, DEFAULT_POLICIES)
    check_requested([RequestedChannel(Channel.IIIF_IMG), RequestedChannel(Channel.THUMBS, "default")], DEFAULT_POLICIES)
    with pytest.raises(MessageRejectedError, match="no policy 'large'") as refused:
        check_requested([RequestedChannel(Channel.THUMBS, "large")], DEFAULT_POLICIES)
    assert "default" in refused.value.remedy


@pytest.mark.parametrize(
    ("media_type", "channel", "expected"),
    [
        ("video/mp4", "iiif-av", True),
        ("video/mp4", "file", True),
        ("video/mp4", "iiif-img", False),
        ("image/jpeg", "file", True),
        ("image/jpeg", "iiif-img", True),
        ("image/jpeg", "thumbs", True),
        ("image/jpeg", "iiif-av", False),
        ("audio/mp3", "none", True),
        ("audio/mp3", "file", True),
        ("audio/mp3", "iiif-av", True),
        ("application/pdf", "iiif-img", False),
        ("application/pdf", "none", True),
    ],
)
def test_a_channel_suits_some_media_types(media_type: str, channel: str, expected: bool) -> None:
    assert Channel(channel).suits(media_type) is expected


def test_the_seeded_thumbnail_policy_stays_unless_replaced() -> None:
    """A customer's own policies must not make the DLCS's default policy disappear."""
    seeded = ("!1024,1024", "!400,400", "!200,200", "!100,100")
    assert DEFAULT_POLICIES.thumbs == {"default": seeded}
    own = ("200,", ",200", "!400,400")
    assert Policies(thumbs={"own": own}).thumbs == {"default": seeded, "own": own}
    assert Policies(thumbs={"default": own}).thumbs == {"default": own}


@pytest.mark.parametrize(
    ("name", "sizes", "named"),
    [
        ("own", ("400,", "foo,bar", "100,"), "'own': 'foo,bar'"),
        ("own", ("max",), "'own': 'max'"),
        ("own", ("0,",), "'own': '0,'"),
        ("own", ("",), "'own': ''"),
        ("own", (), "'own' has no sizes"),
        ("Own", ("400,",), "'Own'"),
        ("my own", ("400,",), "'my own'"),
        ("", ("400,",), "''"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_name(name: str, sizes: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        Policies(thumbs={name: sizes})


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([DeliveryChannel(Channel.IIIF_IMG, "default")], SYSTEM_SIZES),
        ([DeliveryChannel(Channel.THUMBS, "default")], SYSTEM_SIZES),
        ([DeliveryChannel(Channel.THUMBS, "own")], (*SYSTEM_SIZES, "800,", "^!90,90")),
        ([DeliveryChannel(Channel.FILE, "none")], ()),
        ([DeliveryChannel(Channel.NONE, "none")], ()),
    ],
)
def test_the_sizes_of_the_system_come_before_those_of_the_policy(
    channels: list[DeliveryChannel], expected: tuple[str, ...]
) -> None:
    """Each size is there once, and an image without image channels has none."""
    policies = Policies(thumbs={"own": ("800,", "!400,400", "^!90,90", "800,")})
    assert thumbnail_sizes(channels, policies, SYSTEM_SIZES) == expected
