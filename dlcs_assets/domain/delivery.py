"""Delivery channels and their policies: what an asset is offered as, and which choices apply when none are made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.iiif_size import InvalidSizeError, validate_policy_size
from dlcs_assets.domain.text import shown_text

USE_ORIGINAL: Final = "use-original"
DEFAULT_POLICY: Final = "default"
NO_POLICY: Final = "none"
ALL_CHANNELS: Final = "default"  # in a message only: "those that are the default for the media type"


class Channel(StrEnum):
    """A delivery channel, in the DLCS's words."""

    IIIF_IMG = "iiif-img"
    THUMBS = "thumbs"
    FILE = "file"
    NONE = "none"
    IIIF_AV = "iiif-av"

    def suits(self, media_type: str) -> bool:
        """Return whether files of the media type can be delivered so."""
        return media_type.lower().startswith(_SUITED[self])


_SUITED: Final[Mapping[Channel, tuple[str, ...]]] = {
    Channel.IIIF_IMG: ("image/",),
    Channel.THUMBS: ("image/",),
    Channel.FILE: ("",),
    Channel.NONE: ("",),
    Channel.IIIF_AV: ("audio/", "video/"),
}


@dataclass(frozen=True, slots=True)
class DeliveryChannel:
    """A channel with the policy that applies."""

    channel: Channel
    policy: str

    def __str__(self) -> str:
        return f"{self.channel}/{self.policy}"


@dataclass(frozen=True, slots=True)
class RequestedChannel:
    """A channel as asked for; without a policy, the default one for the media type applies."""

    channel: Channel
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class DefaultChannel:
    """A channel that files of a media type (`*` stands for anything) get in a space; None stands for every space."""

    media_type: str
    channel: Channel
    policy: str
    space: int | None = None

    def matches(self, media_type: str, space: int) -> bool:
        """Return whether it applies to a file."""
        pattern = ".*".join(re.escape(part) for part in self.media_type.split("*"))
        return self.space in {None, space} and re.fullmatch(pattern, media_type, re.IGNORECASE) is not None


SEEDED_THUMBS: Final[Mapping[str, tuple[str, ...]]] = {
    DEFAULT_POLICY: ("!1024,1024", "!400,400", "!200,200", "!100,100")
}
SEEDED_DEFAULTS: Final = (
    DefaultChannel("application/*", Channel.FILE, NO_POLICY),
    DefaultChannel("image/*", Channel.IIIF_IMG, DEFAULT_POLICY),
    DefaultChannel("image/*", Channel.THUMBS, DEFAULT_POLICY),
    DefaultChannel("video/*", Channel.IIIF_AV, "default-video"),
    DefaultChannel("audio/*", Channel.IIIF_AV, "default-audio"),
)


@dataclass(frozen=True)
class Policies:
    """The policies of a customer. Thumbnail policies given here come on top of the seeded `default`, or replace it.

    `thumbs` is name -> IIIF size parameters; if not `is_seeded`, there are no others. `unusable` says why policies that
    there are, by channel and name, cannot be applied. Raises `ValueError` for a name or a size that no policy may have.
    """

    thumbs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image: frozenset[str] = frozenset({DEFAULT_POLICY, USE_ORIGINAL})
    defaults: tuple[DefaultChannel, ...] = SEEDED_DEFAULTS
    is_seeded: bool = True
    unusable: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, sizes in self.thumbs.items():
            check_thumbs_policy(name, sizes)
        if self.is_seeded:
            object.__setattr__(self, "thumbs", {**SEEDED_THUMBS, **self.thumbs})

    def of(self, channel: Channel) -> Collection[str] | None:
        """Return the names of a channel's policies; None where they are not ours to know (audio and video)."""
        match channel:
            case Channel.IIIF_IMG:
                return self.image
            case Channel.THUMBS:
                return self.thumbs.keys()
            case Channel.FILE | Channel.NONE:
                return (NO_POLICY,)
            case Channel.IIIF_AV:
                return None

    def default_channels(self, media_type: str, space: int = 0) -> tuple[DeliveryChannel, ...]:
        """Return the channels that a file gets if none are asked for; the closest match of each channel wins."""
        matching = [row for row in self.defaults if row.matches(media_type, space)]
        matching.sort(key=lambda row: (row.space is None, -len(row.media_type)))
        policies: dict[Channel, str] = {}
        for row in matching:
            policies.setdefault(row.channel, row.policy)
        return tuple(DeliveryChannel(channel, policy) for channel, policy in policies.items())


def parse_requested_channels(value: object) -> tuple[RequestedChannel, ...] | None:
    """Read `[{"channel": ..., "policy": ...}]` of a message. None (null): the message does not say.

    `[{"channel": "default"}]` asks for the defaults expressly and gives an empty tuple. Raises `MessageRejectedError`.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise _malformed("must be a list of objects with channel and policy")
    if not value:
        raise MessageRejectedError(
            "channels_empty",
            "deliveryChannels is an empty list",
            remedy='Leave deliveryChannels out to get the defaults, or ask for [{"channel": "none"}].',
        )
    requested = [_requested(item) for item in value]
    names = [name for name, _ in requested]
    if twice := {name for name, count in Counter(names).items() if count > 1}:
        raise MessageRejectedError(
            "duplicate_channel",
            f"deliveryChannels names {' and '.join(sorted(twice))} more than once",
            remedy="Name each channel once.",
        )
    if len(names) > 1 and (alone := {ALL_CHANNELS, Channel.NONE} & set(names)):
        raise MessageRejectedError(
            "channel_must_be_alone",
            f"deliveryChannels has other channels next to {' and '.join(sorted(alone))}",
            remedy="Leave either this channel or the others out.",
        )
    if names == [ALL_CHANNELS]:
        return ()
    return tuple(RequestedChannel(Channel(name), policy) for name, policy in requested)


def check_requested(requested: Sequence[RequestedChannel] | None, policies: Policies) -> None:
    """Refuse policies that do not exist. This much can be checked before the media type is known."""
    for item in requested or ():
        known = policies.of(item.channel)
        if reason := policies.unusable.get((item.channel, item.policy or "")):
            raise MessageRejectedError(
                "policy_unusable",
                f"the policy '{item.policy}' of the channel {item.channel} {reason}",
                remedy="Correct it in the DLCS, then request the image again.",
            )
        if item.policy is not None and known is not None and item.policy not in known:
            raise MessageRejectedError(
                "unknown_policy",
                f"the channel {item.channel} has no policy '{shown_text(item.policy)}'",
                remedy=f"Policies of {item.channel}: {', '.join(sorted(known))}.",
            )


def resolve_channels(
    requested: Sequence[RequestedChannel] | None, media_type: str | None, policies: Policies, *, space: int = 0
) -> tuple[DeliveryChannel, ...]:
    """Return the channels that apply, each with its policy. Raises `MessageRejectedError`.

    Without a media type only channels that need none for their policy can be resolved (code `media_type_missing`).
    """
    check_requested(requested, policies)
    if not requested:
        return _defaults(media_type, policies, space)
    return tuple(_resolve(item, media_type, policies, space) for item in requested)


def thumbnail_sizes(
    channels: Collection[DeliveryChannel], policies: Policies, defaults: Sequence[str]
) -> tuple[str, ...]:
    """Return the sizes of an image: the system's, then the policy's that are not among them; each text once.

    Every image gets the system's sizes, with a `thumbs` channel or without. What is no image gets none.
    """
    names = {item.channel: item.policy for item in channels}
    if not names.keys() & {Channel.IIIF_IMG, Channel.THUMBS}:
        return ()
    of_policy = policies.thumbs[names[Channel.THUMBS]] if Channel.THUMBS in names else ()
    return tuple(dict.fromkeys((*defaults, *of_policy)))


def _defaults(media_type: str | None, policies: Policies, space: int) -> tuple[DeliveryChannel, ...]:
    if media_type is None:
        raise _media_type_missing()
    channels = policies.default_channels(media_type, space)
    if not channels:
        raise MessageRejectedError(
            "no_default_channels",
            f"no delivery channel is the default for {media_type}",
            remedy="Name deliveryChannels in the message.",
        )
    check_requested([RequestedChannel(each.channel, each.policy) for each in channels], policies)
    return channels


def _resolve(item: RequestedChannel, media_type: str | None, policies: Policies, space: int) -> DeliveryChannel:
    if media_type is not None and not item.channel.suits(media_type):
        raise MessageRejectedError(
            "channel_not_for_media_type",
            f"the channel {item.channel} is not for {shown_text(media_type)}",
            remedy="Ask for the channel file, or correct the media type.",
        )
    if item.policy is not None:
        return DeliveryChannel(item.channel, item.policy)
    if item.channel in {Channel.FILE, Channel.NONE}:
        return DeliveryChannel(item.channel, NO_POLICY)
    if media_type is None:
        raise _media_type_missing()
    for default in policies.default_channels(media_type, space):
        if default.channel is item.channel:
            check_requested([RequestedChannel(default.channel, default.policy)], policies)
            return default
    raise MessageRejectedError(
        "policy_not_matched",
        f"no policy of the channel {item.channel} is the default for {media_type}",
        remedy="Name the channel's policy in the message.",
    )


def _requested(item: object) -> tuple[str, str | None]:
    if not isinstance(item, dict):
        raise _malformed("must be a list of objects with channel and policy")
    fields = {str(name).lower(): value for name, value in item.items()}
    name, policy = fields.get("channel"), fields.get("policy")
    if not isinstance(name, str) or not (policy is None or isinstance(policy, str)):
        raise _malformed("has a channel or a policy that is not a string")
    if name not in {ALL_CHANNELS, *Channel}:
        raise MessageRejectedError(
            "unknown_channel",
            f"there is no delivery channel '{shown_text(name)}'",
            remedy=f"Delivery channels: {', '.join(Channel)}.",
        )
    return name, policy or None


def _malformed(problem: str) -> MessageRejectedError:
    return MessageRejectedError(
        "field_malformed",
        f"deliveryChannels {problem}",
        remedy='Write [{"channel": "iiif-img", "policy": "default"}].',
    )


def _media_type_missing() -> MessageRejectedError:
    return MessageRejectedError(
        "media_type_missing",
        "the media type is not known, and the delivery channels depend on it",
        remedy="Name the mediaType, or each delivery channel with its policy.",
    )


def check_thumbs_policy(name: str, sizes: Sequence[str]) -> None:
    """Raise `ValueError` for a name or a size that no policy may have."""
    if not name or re.search(r"[A-Z\s]", name):
        raise ValueError(f"Thumbnail policy '{name}': a name has no capitals and no spaces, and is not empty.")
    if not sizes:
        raise ValueError(f"Thumbnail policy '{name}' has no sizes.")
    for size in sizes:
        try:
            validate_policy_size(size)
        except InvalidSizeError as error:
            raise ValueError(f"Thumbnail policy '{name}': {error}.") from error


DEFAULT_POLICIES: Final = Policies()
