from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.networks import parse_network
from dlcs_assets.domain.origin import Origin, OriginBucket, OriginStrategy, OriginStrategyRule


def rule(
    name: str, regex: str, strategy: OriginStrategy, *, order: int = 1, optimised: bool = False
) -> OriginStrategyRule:
    search = re.compile(regex, re.IGNORECASE).search
    return OriginStrategyRule(name, strategy, lambda text: search(text) is not None, order, optimised)


WEB = rule("web", r"^https://", OriginStrategy.DEFAULT, order=30)
BASIC = rule("basic", r"private\.example\.org", OriginStrategy.BASIC_HTTP, order=20)
SCANS = rule("scans", r"library-scans", OriginStrategy.S3_AMBIENT, order=10, optimised=True)
SFTP = rule("sftp", r"^sftp://", OriginStrategy.SFTP, order=40)
CUSTOMER = Customer(
    2,
    rules=(WEB, BASIC, SCANS, SFTP),
    buckets={
        "library-scans": OriginBucket(),
        "library-scans-elsewhere": OriginBucket("https://s3.example.org"),
        "library-scans-far": OriginBucket(region="eu-west-2"),
        "listed": OriginBucket(),
    },
)


def origin(url: str, customer: Customer = CUSTOMER) -> Origin:
    return customer.origin(url, portal_bucket="dlcs-origin", own_buckets=("dlcs-storage", "dlcs-thumbs"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a.jpg", "web"),
        ("https://private.example.org/a.jpg", "basic"),
        ("https://PRIVATE.Example.ORG/a.jpg", "basic"),
        ("http://example.org/?to=private.example.org", "basic"),
        ("s3://library-scans/a.jpg", "scans"),
        ("https://library-scans.s3.amazonaws.com/a.jpg", "scans"),
        ("sftp://example.org:2222/a.jpg", "sftp"),
        ("http://example.org/a.jpg", None),
        ("s3://listed/a.jpg", None),
        ("s3://dlcs-origin/2/1/a", None),
    ],
)
def test_the_first_rule_by_order_that_finds_something_decides(url: str, expected: str | None) -> None:
    found = origin(url)
    assert (found.rule.id if found.rule else None) == expected
    if found.rule:
        assert found.strategy is found.rule.strategy


@pytest.mark.parametrize(
    ("url", "strategy", "optimised"),
    [
        ("anything://unmatched", None, False),
        ("http://example.org/a.jpg", OriginStrategy.DEFAULT, False),
        ("s3://listed/a.jpg", OriginStrategy.S3_AMBIENT, False),
        ("s3://library-scans/a.jpg", OriginStrategy.S3_AMBIENT, True),
        ("s3://dlcs-origin/2/1/a", OriginStrategy.S3_AMBIENT, True),
    ],
)
def test_without_a_rule_portal_listed_buckets_and_http_are_read(
    url: str, strategy: OriginStrategy | None, optimised: bool
) -> None:
    """Where no rule of the customer matches, nothing else may be read, and only optimised buckets are optimised."""
    if strategy is None:
        with pytest.raises(PermanentError):
            origin(url)
    else:
        found = origin(url)
        assert (found.strategy, found.optimised) == (strategy, optimised)


def test_the_rules_of_a_customer_come_before_the_portal_bucket() -> None:
    """A customer's own rule for the portal's bucket decides how it is read."""
    own = rule("own", r"^s3://dlcs-origin/2/", OriginStrategy.S3_AMBIENT)
    found = origin("s3://dlcs-origin/2/1/a", replace(CUSTOMER, rules=(own,)))
    assert (found.rule, found.optimised) == (own, False)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("s3://dlcs-storage/2/1/a", "origin_not_allowed"),
        ("s3://dlcs-thumbs/2/1/a", "origin_not_allowed"),
        ("s3://other-customers-scans/a", "origin_not_allowed"),
        ("https://other-customers-scans.s3.amazonaws.com/a", "origin_not_allowed"),
        ("s3://dlcs-origin/22/1/a", "origin_of_another_customer"),
    ],
)
def test_no_rule_opens_a_bucket_that_is_not_listed(url: str, code: str) -> None:
    everything = rule("everything", "", OriginStrategy.S3_AMBIENT, optimised=True)
    with pytest.raises(PermanentError) as refused:
        origin(url, replace(CUSTOMER, rules=(everything,)))
    assert refused.value.code == code


@pytest.mark.parametrize("url", ["s3://library-scans-elsewhere/a.tif", "s3://library-scans-far/a.tif"])
def test_a_bucket_at_another_endpoint_or_region_is_not_optimised(url: str) -> None:
    """Whatever its rule says: the image server could not read it."""
    found = origin(url)
    assert not found.optimised
    assert found.bucket.is_elsewhere
    assert found.note is not None
    assert "image server" in found.note


@pytest.mark.parametrize(
    ("strategy", "url", "code"),
    [
        (OriginStrategy.BASIC_HTTP, "s3://listed/a.jpg", "origin_strategy_mismatch"),
        (OriginStrategy.DEFAULT, "sftp://example.org/a.jpg", "origin_strategy_mismatch"),
        (OriginStrategy.S3_AMBIENT, "https://example.org/a.jpg", "origin_strategy_mismatch"),
        (OriginStrategy.SFTP, "https://example.org/a.jpg", "origin_strategy_mismatch"),
        (OriginStrategy.SFTP, "sftp://example.org/folder/", "origin_malformed"),
        (OriginStrategy.SFTP, "sftp://example.org/a.jpg?b", "origin_malformed"),
        (OriginStrategy.SFTP, "sftp:///a.jpg", "origin_malformed"),
        (OriginStrategy.SFTP, "sftp://example.org:port/a.jpg", "origin_malformed"),
        (OriginStrategy.BASIC_HTTP, "ftp://example.org/a.jpg", "origin_scheme_not_supported"),
    ],
)
def test_an_origin_that_its_strategy_cannot_read_is_refused(strategy: OriginStrategy, url: str, code: str) -> None:
    with pytest.raises(PermanentError) as refused:
        origin(url, replace(CUSTOMER, rules=(rule("all", "", strategy),)))
    assert refused.value.code == code


def test_sftp_is_not_read_without_a_rule_that_has_host_keys() -> None:
    """Without known host keys anyone could pose as the host; the refusal shows no password."""
    with pytest.raises(PermanentError) as refused:
        origin("sftp://user:secret@example.org/a.jpg", Customer(2))
    assert refused.value.code == "origin_strategy_missing"
    assert "secret" not in str(refused.value)


def test_customers_that_are_not_configured_are_refused_by_number() -> None:
    customers = Customers({2: CUSTOMER})
    assert customers.get(2) is CUSTOMER
    assert customers.find(22) is None
    with pytest.raises(PermanentError) as refused:
        customers.get(22)
    assert refused.value.code == "customer_not_configured"
    assert "22" in refused.value.cause


def test_unlisted_customers_share_a_configuration_not_a_number() -> None:
    """The entry for all other customers applies under the number of the customer that was asked for."""
    customers = Customers({2: CUSTOMER}, others=Customer(0, buckets={"shared": OriginBucket()}))
    assert customers.get(2) is CUSTOMER
    assert (customers.get(7).number, set(customers.get(7).buckets)) == (7, {"shared"})


def test_a_host_name_used_as_user_name_gets_no_credentials() -> None:
    """A regular expression without an end matches the host where it is only a user's name."""
    with pytest.raises(PermanentError) as refused:
        CUSTOMER.origin("https://private.example.org@elsewhere.example/x", portal_bucket=None, own_buckets=())
    assert refused.value.code == "origin_malformed"


def test_an_origin_may_be_on_the_networks_of_its_customer() -> None:
    networks = (parse_network("10.1.0.0/16"),)
    for url in ("https://example.org/x", "s3://library-scans/x", "sftp://example.org/x"):
        own = replace(CUSTOMER, private_networks=networks).origin(url, portal_bucket=None, own_buckets=())
        others = CUSTOMER.origin(url, portal_bucket=None, own_buckets=())
        assert (own.private_networks, others.private_networks) == (networks, ())
