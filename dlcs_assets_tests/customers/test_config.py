from __future__ import annotations

from pathlib import Path

import pytest

from dlcs_assets.customers.config import parse_customers
from dlcs_assets.customers.fields import InvalidConfigError
from dlcs_assets.customers.patterns import compile_search
from dlcs_assets.domain.customers import Quota
from dlcs_assets.domain.delivery import SEEDED_DEFAULTS, resolve_channels
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.origin import OriginBucket, OriginStrategy

EXAMPLE = Path(__file__).parents[2] / "dlcs.example.yaml"


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        parse_customers(text if isinstance(text, bytes) else text.encode())
    return [str(problem) for problem in caught.value.problems]


def of_customer(text: str) -> list[str]:
    """Return what is wrong with a customer's fields; the first of these is in line 3."""
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    return problems(f"customers:\n  2:\n{indented}")


def test_the_example_is_a_valid_customers_file() -> None:
    customers = parse_customers(EXAMPLE.read_bytes())
    plain, library = customers.get(1), customers.get(2)
    assert (plain.rules, plain.buckets, plain.policies.defaults) == ((), {}, SEEDED_DEFAULTS)
    assert [rule.strategy for rule in library.rules] == [
        OriginStrategy.S3_AMBIENT,
        OriginStrategy.BASIC_HTTP,
        OriginStrategy.SFTP,
    ]
    assert library.rules[1].finds("https://IMAGES.partner.example/x.jpg")
    assert not library.rules[1].finds("https://images-partner.example/x.jpg")
    assert library.buckets["partner-scans"] == OriginBucket("https://s3.partner.example", "eu-west-2")
    assert [str(network) for network in library.private_networks] == ["10.1.0.0/16", "fd12:3456:789a::/48"]
    assert plain.private_networks == ()
    assert (plain.quota, plain.runs_in_flight) == (Quota(), None)
    assert (library.quota, library.runs_in_flight) == (Quota(100_000, 500 * 10**9), 2)
    assert library.policies.thumbs["wide"] == ("1600,", "!400,400")


@pytest.mark.parametrize(
    ("space", "media_type", "expected"),
    [
        (4, "image/tiff", {"iiif-img/default", "thumbs/wide"}),
        (5, "image/tiff", {"iiif-img/use-original", "thumbs/wide"}),
        (5, "image/jpeg", {"iiif-img/default", "thumbs/wide"}),
        (5, "application/pdf", {"file/none"}),
    ],
)
def test_the_example_has_defaults_of_a_space_and_of_the_customer(
    space: int, media_type: str, expected: set[str]
) -> None:
    """Those of the space come first; the DLCS's own defaults apply to all other media types."""
    policies = parse_customers(EXAMPLE.read_bytes()).get(2).policies
    assert {str(channel) for channel in resolve_channels(None, media_type, policies, space=space)} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Quota()),
        ("{quota: {images: 100000}}", Quota(images=100_000)),
        ("{quota: {bytes: 1}}", Quota(bytes=1)),
        ("{quota: {bytes: 9223372036854775807}}", Quota(bytes=2**63 - 1)),
        ("{quota: {images: 1, bytes: 500KB}}", Quota(1, 500_000)),
        ("{quota: {bytes: 1MB}}", Quota(bytes=10**6)),
        ("{quota: {bytes: 2GB}}", Quota(bytes=2 * 10**9)),
        ("{quota: {bytes: '3TB'}}", Quota(bytes=3 * 10**12)),
        ("{quota: {bytes: 1KiB}}", Quota(bytes=1024)),
        ("{quota: {bytes: 2MiB}}", Quota(bytes=2 * 1024**2)),
        ("{quota: {bytes: 3GiB}}", Quota(bytes=3 * 1024**3)),
        ("{quota: {bytes: 4TiB}}", Quota(bytes=4 * 1024**4)),
    ],
)
def test_a_quota_limits_images_or_bytes_or_both(text: str, expected: Quota) -> None:
    """Bytes can be written with a decimal or binary unit: 1KB is 1000 bytes, 1KiB is 1024."""
    assert parse_customers(f"customers: {{2: {text}}}".encode()).get(2).quota == expected


@pytest.mark.parametrize(("text", "expected"), [("{}", None), ("{runs_in_flight: 3}", 3)])
def test_runs_in_flight_are_as_many_as_the_file_says(text: str, expected: int | None) -> None:
    assert parse_customers(f"customers: {{2: {text}}}".encode()).get(2).runs_in_flight == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: is empty; expected the field 'customers'"),
        ("# nothing\n", "line 1: is empty; expected the field 'customers'"),
        ("- 1\n", "line 1: is a list; expected fields"),
        ("hello\n", "line 1: is text; expected fields"),
        ("customers: [1]\n", "line 1: customers: is a list; expected fields"),
        ("customers:\n", "line 1: customers: is empty or of another kind; expected fields"),
        ("clients: {}\n", "line 1: clients: is no field here; expected 'customers'"),
        ("customers: {}\ncustomers: {}\n", "line 2: customers: is there already, in line 1; expected each once"),
        ("customers:\n  2: {}\n  2: {}\n", "line 3: customers.2: is there already, in line 2; expected each once"),
        ("customers:\n  two: {}\n", "line 2: customers.two: is text; expected a whole number"),
        ("customers:\n  '2': {}\n", "line 2: customers.2: is text; expected a whole number"),
        ("customers:\n  0: {}\n", "line 2: customers.0: is 0; expected a customer's number, from 1 to 2147483647"),
        ("customers:\n  -2: {}\n", "line 2: customers.-2: is '-2'; expected a whole number, in plain digits"),
        ("customers:\n  0x2: {}\n", "line 2: customers.0x2: is '0x2'; expected a whole number, in plain digits"),
        ("customers:\n  010: {}\n", "line 2: customers.010: is '010'; expected a whole number, in plain digits"),
        (
            "customers:\n  99999999999: {}\n",
            "line 2: customers.99999999999: is 99999999999; expected a customer's number, from 1 to 2147483647",
        ),
        ("customers:\n\t2: {}\n", "line 2: is not YAML: found character '\\t' that cannot start any token"),
        ("customers: {\n", "line 2: is not YAML: expected the node content, but found '<stream end>'"),
        ("customers: *gone\n", "line 1: is not YAML: found undefined alias 'gone'"),
        ("customers: {}\n---\ncustomers: {}\n", "line 2: is not YAML: but found another document"),
        (b"customers: {}\n\xff\n", "line 2: is not UTF-8; expected a text file in UTF-8"),
        (b"customers: {}\n# \x07\n", "line 2: has a control character; expected plain text"),
        ("[" * 5000, "line 1: is nested too deeply; expected the fields of a customers file"),
    ],
)  # fmt: skip
def test_an_invalid_file_is_refused_with_its_line(text: str | bytes, expected: str) -> None:
    assert expected in problems(text)


RULE = "origins:\n  - {id: a, order: 1, "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quotas: 3", "line 3: customers.2.quotas: is no field here; expected 'buckets', 'origins'"),
        ("quota: 3", "line 3: customers.2.quota: is a whole number; expected fields"),
        ("quota: 500GB", "customers.2.quota: is text; expected fields"),
        ("quota: {}", "customers.2.quota: says nothing; expected 'images', 'bytes' or both"),
        ("quota:\n  image: 3\n  bytes: 5", "line 4: customers.2.quota.image: is no field here; expected 'images'"),
        ("quota: {images: 0}", "quota.images: is 0; expected how many images, from 1 to 2147483647"),
        ("quota: {images: -1}", "quota.images: is '-1'; expected a whole number, in plain digits"),
        ("quota: {images: 2147483648}", "quota.images: is 2147483648; expected how many images, from 1 to 2147483647"),
        ("quota: {images: true}", "quota.images: is true or false; expected a whole number"),
        ("quota: {images: 100k}", "quota.images: is text; expected a whole number"),
        ("quota: {images: 1e3}", "quota.images: is text; expected a whole number"),
        ("quota: {images: 10.5}", "quota.images: is empty or of another kind; expected a whole number"),
        ("quota: {images: '5'}", "quota.images: is text; expected a whole number"),
        ("quota: {images: 1_000}", "quota.images: is '1_000'; expected a whole number, in plain digits"),
        ("quota: {bytes: 0}", "quota.bytes: is 0; expected how many bytes, from 1 to 9223372036854775807"),
        ("quota: {bytes: -5}", "quota.bytes: is '-5'; expected a whole number, in plain digits"),
        ("quota: {bytes: 9223372036854775808}", "quota.bytes: is 9223372036854775808; expected how many bytes"),
        ("quota: {bytes: 10000000TB}", "quota.bytes: is '10000000TB'; expected whole bytes, or a whole number with"),
        ("quota: {bytes: 0GB}", "quota.bytes: is '0GB'; expected whole bytes"),
        ("quota: {bytes: -5GB}", "quota.bytes: is '-5GB'; expected whole bytes"),
        ("quota: {bytes: 1.5TB}", "quota.bytes: is '1.5TB'; expected whole bytes"),
        ("quota: {bytes: 1.5}", "quota.bytes: is no size; expected whole bytes"),
        ("quota: {bytes: 500 GB}", "quota.bytes: is '500 GB'; expected whole bytes"),
        ("quota: {bytes: 500gb}", "quota.bytes: is '500gb'; expected whole bytes"),
        ("quota: {bytes: 500G}", "quota.bytes: is '500G'; expected whole bytes"),
        ("quota: {bytes: 5PB}", "quota.bytes: is '5PB'; expected whole bytes"),
        ("quota: {bytes: GB}", "such as 500GB, up to 9223372036854775807 bytes; units are KB, MB, GB, TB, KiB"),
        ("quota: {bytes: '500'}", "quota.bytes: is '500'; expected whole bytes"),
        ("quota: {bytes: false}", "quota.bytes: is no size; expected whole bytes"),
        ("quota: {bytes: }", "quota.bytes: is no size; expected whole bytes"),
        ("quota: {bytes: [5]}", "quota.bytes: is no size; expected whole bytes"),
        ("runs_in_flight: 0", "customers.2.runs_in_flight: is 0; expected how many runs, from 1 to 1000"),
        ("runs_in_flight: 1001", "customers.2.runs_in_flight: is 1001; expected how many runs, from 1 to 1000"),
        ("runs_in_flight: -1", "customers.2.runs_in_flight: is '-1'; expected a whole number, in plain digits"),
        ("runs_in_flight: true", "customers.2.runs_in_flight: is true or false; expected a whole number"),
        ("runs_in_flight: many", "customers.2.runs_in_flight: is text; expected a whole number"),
        ("spaces: {5: {default_channels: [], quota: {images: 5}}}", "spaces.5.quota: is no field here"),
        ("private_networks: 10.0.0.0/8", "line 3: customers.2.private_networks: is text; expected a list"),
        ("private_networks: [10.1.0.0]", "private_networks[0]: is '10.1.0.0'; expected a network with the length of"),
        ("private_networks: ['10.1.2.3/16']", "private_networks[0]: is '10.1.2.3/16', which has bits beyond its"),
        ("private_networks:\n  - 10.0.0.0/8\n  - intranet", "line 5: customers.2.private_networks[1]: is 'intranet'"),
        ("private_networks: [10]", "private_networks[0]: is a whole number; expected text (put it in quotes)"),
        ("private_networks: ['']", "private_networks[0]: is empty; expected text"),
        ("buckets: {A_b: {}}", "line 3: customers.2.buckets.A_b: is 'A_b'; expected the name of a bucket"),
        ("buckets: {a-b: {url: x}}", "buckets.a-b.url: is no field here; expected 'endpoint', 'region'"),
        ("buckets: {a-b: {endpoint: ftp://x}}", "buckets.a-b.endpoint: is no plain http(s) URL"),
        ("buckets: {a-b: {endpoint: 'https://user:secret@x'}}", "buckets.a-b.endpoint: is no plain http(s) URL"),
        ("buckets: {a-b: {endpoint: 'https://x:y'}}", "buckets.a-b.endpoint: is no URL"),
        ("buckets: {a-b: {region: Ireland}}", "buckets.a-b.region: is 'Ireland'; expected a region"),
        (f"{RULE}strategy: default}}", "line 4: customers.2.origins[0]: lacks 'regex'"),
        ("origins:\n  - {}", "line 4: customers.2.origins[0]: lacks 'id', 'regex', 'strategy', 'order'"),
        (f"{RULE}regex: '(', strategy: default}}", "origins[0].regex: does not compile: missing )"),
        (f"{RULE}regex: '(a+)+$', strategy: default}}", "origins[0].regex: takes too long"),
        (f"{RULE}regex: 'a{{4000000000}}', strategy: default}}", "origins[0].regex: repeats more than 10000 times"),
        (f"{RULE}regex: '((a{{200}}){{0, 200}})', strategy: default}}", "regex: repeats more than 10000 times"),
        (f"{RULE}regex: {'a' * 1001}, strategy: default}}", "regex: has 1001 characters"),
        (f"{RULE}regex: '', strategy: default}}", "origins[0].regex: is empty; expected text"),
        (f"{RULE}regex: 5, strategy: default}}", "regex: is a whole number; expected text (put it in quotes)"),
        (f"{RULE}regex: a, strategy: ftp}}", "strategy: is 'ftp'; expected one of default, basic-http-authentication"),
        (f"{RULE}regex: a, strategy: basic-http-authentication}}", "origins[0]: lacks 'credentials'"),
        (f"{RULE}regex: a, strategy: sftp, known_hosts: []}}", "origins[0]: lacks 'credentials'"),
        (f"{RULE}regex: a, strategy: sftp, credentials: 'env:A'}}", "origins[0]: lacks 'known_hosts'"),
        (f"{RULE}regex: a, strategy: default, credentials: 'env:A'}}", "credentials: is given; expected with basic-"),
        (f"{RULE}regex: a, strategy: s3-ambient, credentials: 'env:A'}}", "credentials: is given; expected with"),
        (f"{RULE}regex: a, strategy: default, optimised: true}}", "optimised: is true; expected with s3-ambient only"),
        (f"{RULE}regex: a, strategy: s3-ambient, optimised: yes}}", "optimised: is 'yes'; expected true or false"),
        (f"{RULE}regex: a, strategy: default, known_hosts: []}}", "known_hosts: is given; expected with sftp only"),
        (
            f"{RULE}regex: a, strategy: sftp, credentials: 'env:A', known_hosts: ['host ssh-ed25519 AAAA']}}",
            "known_hosts[0]: is no line of known_hosts",
        ),
        ("origins: [{id: 'a b', regex: a, strategy: default, order: 1}]", "id: is 'a b'; expected letters"),
        (f"{RULE}regex: a, strategy: default}}\n  - {{id: a, order: 2, regex: b, strategy: default}}",
         "line 5: customers.2.origins[1].id: is 'a', which another origin strategy has; expected each once"),
        (f"{RULE}regex: a, strategy: default}}\n  - {{id: b, order: 1, regex: b, strategy: default}}",
         "line 5: customers.2.origins[1].order: is 1, as that of 'a'; expected each once"),
        ("policies: {img: {}}", "policies.img: is no field here; expected 'thumbs'"),
        ("policies: {thumbs: {Wide: ['100,']}}", "'Wide': a name has no capitals and no spaces"),
        ("policies: {thumbs: {wide: []}}", "thumbs.wide: Thumbnail policy 'wide' has no sizes"),
        ("policies: {thumbs: {wide: '100,'}}", "thumbs.wide: is text; expected a list"),
        ("policies: {thumbs: {wide: [100]}}", "thumbs.wide[0]: is a whole number; expected text"),
        ("policies: {thumbs: {wide: ['max']}}", "thumbs.wide[0]: Thumbnail policy 'wide'"),
        ("policies: {thumbs: {wide: ['100,', 'pct:10']}}", "thumbs.wide[1]: Thumbnail policy 'wide'"),
        ("default_channels: [{media_type: image, channel: thumbs, policy: default}]", "media_type: is 'image'"),
        ("default_channels: [{media_type: image/*, channel: none, policy: none}]", "channel: is 'none'; expected one"),
        ("default_channels: [{media_type: image/*, channel: thumbs, policy: wide}]",
         "policy: is 'wide'; expected a policy of thumbs: default"),
        ("default_channels:\n" + 2 * "  - {media_type: image/*, channel: thumbs, policy: default}\n",
         "line 5: customers.2.default_channels[1]: is there already for image/* and thumbs"),
        ("spaces: {0: {default_channels: []}}", "spaces.0: is 0; expected a space's number"),
        ("spaces: {5: {}}", "spaces.5: lacks 'default_channels'"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_line_field_and_expectation(text: str, expected: str) -> None:
    """The operator who edits the file must see where the mistake is, which field it is in and what is allowed there."""
    (problem,) = of_customer(text)
    assert expected in problem


def test_all_mistakes_are_reported_and_not_only_the_first() -> None:
    found = of_customer(
        "buckets: {B: {}}\n"
        "origins:\n"
        "  - {id: a, order: one, regex: '(', strategy: ftp}\n"
        "policies: {thumbs: {wide: [max]}}\n"
        "default_channels: [{media_type: image/*, channel: thumbs, policy: gone}]\n"
        "colour: red\n"
    )
    assert [problem.split(": ")[:2] for problem in found] == [
        ["line 3", "customers.2.buckets.B"],
        ["line 5", "customers.2.origins[0].strategy"],
        ["line 5", "customers.2.origins[0].regex"],
        ["line 5", "customers.2.origins[0].order"],
        ["line 6", "customers.2.policies.thumbs.wide[0]"],
        ["line 7", "customers.2.default_channels[0].policy"],
        ["line 8", "customers.2.colour"],
    ]


@pytest.mark.parametrize(
    "credentials",
    ['\'{"user": "u", "password": "hunter2"}\'', "hunter2", "s3://hunter2", "env:hunter2!", "hunter2@example.org"],
)
def test_credentials_in_the_file_are_refused_and_not_shown(credentials: str) -> None:
    """Only a reference to where they are kept is allowed; the message about it reaches logs and the UI."""
    (problem,) = of_customer(f"{RULE}regex: a, strategy: basic-http-authentication, credentials: {credentials}}}")
    assert "credentials: is no such reference; expected where they are kept" in problem
    assert "hunter2" not in problem


def test_credentials_as_fields_are_refused_and_not_shown() -> None:
    (problem,) = of_customer(
        f"{RULE}regex: a, strategy: basic-http-authentication, credentials: {{user: u, password: hunter2}}}}"
    )
    assert problem.endswith("credentials: is fields; expected text")


def test_a_file_that_is_broken_near_a_secret_does_not_show_it() -> None:
    assert "hunter2" not in "".join(problems("customers:\n  2: {credentials: hunter2\n    hunter2: ]\n"))


@pytest.mark.parametrize("text", ["a" * 40 + "!", "(" * 3 + "a" * 60])
def test_a_search_that_would_not_end_is_stopped(text: str) -> None:
    """The expression passes the check, and some address finds its weakness nevertheless."""
    finds = compile_search(r"^[(]*(?:(?:(?:a|a)|a)*)*[b(]$", "slow")
    with pytest.raises(PermanentError) as stopped:
        finds(text)
    assert stopped.value.code == "origin_strategy_too_slow"
    assert "'slow'" in stopped.value.cause
