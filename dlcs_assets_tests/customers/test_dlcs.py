"""Customers as a DLCS's database of either layout has them, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.cli.doctor_finding import Verdict
from dlcs_assets.cli.doctor_parts import check_customers, check_dlcs_database
from dlcs_assets.clients.credentials import CredentialStore
from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.customers import source as customers_source
from dlcs_assets.customers.dlcs import REFRESH_SECONDS, SOON_SECONDS, DlcsCustomers
from dlcs_assets.customers.file import CustomersFile
from dlcs_assets.domain.customers import Customer, Customers, Quota
from dlcs_assets.domain.delivery import Channel, DeliveryChannel, RequestedChannel, check_requested, resolve_channels
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.origin import OriginBucket, OriginStrategy
from dlcs_assets.settings import Settings
from dlcs_testing.dlcs_database import Dlcs

SECRET = '{"user": "reader", "password": "s3cr3t-of-the-partner"}'
SIZES = '["!1024,1024", "^600,"]'


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_time(self) -> None:
        self.now += REFRESH_SECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dlcs.yaml"


@pytest.fixture
def source(database: DlcsDatabase, clock: Clock, path: Path, tmp_path: Path) -> DlcsCustomers:
    file = CustomersFile(path, tmp_path / "last-good.yaml", Customers({}), adds_to_dlcs=True)
    return DlcsCustomers(database, file, clock=clock)


def customer(source: DlcsCustomers, number: int = 2) -> Customer:
    return source.customers().get(number)


def origin(source: DlcsCustomers, url: str, number: int = 2) -> Any:
    return customer(source, number).origin(url, portal_bucket="uploads", own_buckets=())


def test_a_customer_has_its_own_policies_and_the_system_ones(dlcs: Dlcs, source: DlcsCustomers) -> None:
    dlcs.limit("default", 10, 1000)
    dlcs.customer(2)
    dlcs.customer(3)
    dlcs.policy(2, "thumbs", "default", '["!100,100"]')
    dlcs.policy(2, "thumbs", "large", SIZES)
    dlcs.policy(3, "thumbs", "others", '["!50,50"]')
    policies = customer(source).policies
    assert policies.thumbs == {"default": ("!100,100",), "large": ("!1024,1024", "^600,")}
    assert policies.image == {"default", "use-original"}
    assert source.problem() is None


def test_default_channels_are_those_of_the_space_first(dlcs: Dlcs, source: DlcsCustomers) -> None:
    dlcs.customer(2)
    dlcs.default_channel(2, None, "image/*", "iiif-img", "default")
    dlcs.default_channel(2, 7, "image/*", "iiif-img", "use-original")
    policies = customer(source).policies
    for space, policy in {1: "default", 7: "use-original"}.items():
        assert resolve_channels(None, "image/tiff", policies, space=space) == (
            DeliveryChannel(Channel.IIIF_IMG, policy),
        )
    assert policies.default_channels("video/mp4") == ()


def test_space_0_is_a_space_of_its_own_since_2026(dlcs: Dlcs, source: DlcsCustomers) -> None:
    dlcs.customer(2)
    dlcs.default_channel(2, 0, "*/*", "none", "none")
    spaces = {space: customer(source).policies.default_channels("image/tiff", space) for space in (0, 1)}
    nothing = (DeliveryChannel(Channel.NONE, "none"),)
    assert spaces == ({0: nothing, 1: ()} if dlcs.layout == "2026" else {0: nothing, 1: nothing})


def test_origin_strategies_are_tried_in_their_order(dlcs: Dlcs, source: DlcsCustomers) -> None:
    dlcs.customer(2)
    dlcs.strategy(2, "late", "partner", "default", order=5)
    dlcs.strategy(2, "early", r"partner\.EXAMPLE", "basic-http-authentication", credentials=SECRET, order=1)
    dlcs.strategy(3, "other", ".", "sftp")
    found = origin(source, "https://partner.example/a.tif")
    assert (found.strategy, found.rule.id) == (OriginStrategy.BASIC_HTTP, "early")
    assert origin(source, "https://partner.org/a.tif").rule.id == "late"
    assert origin(source, "https://elsewhere.org/a.tif").rule is None


def test_credentials_in_the_row_are_used_and_never_shown(
    dlcs: Dlcs, source: DlcsCustomers, caplog: pytest.LogCaptureFixture
) -> None:
    """They may be of an account, and may be no JSON at all."""
    dlcs.customer(2)
    dlcs.strategy(2, "good", "good", "basic-http-authentication", credentials=SECRET)
    dlcs.strategy(2, "bad", "bad", "basic-http-authentication", credentials="s3cr3t-of-the-partner")
    dlcs.strategy(2, "none", "none", "basic-http-authentication")
    dlcs.strategy(2, "kept", "kept", "basic-http-authentication", credentials="s3://keys/2/kept.json")
    rules = {rule.id: rule for rule in customer(source).rules}
    store = CredentialStore(lambda: pytest.fail("nothing is to be read in S3"))
    credentials = store.get(rules["good"])
    assert (credentials.user, credentials.password) == ("reader", "s3cr3t-of-the-partner")
    with pytest.raises(PermanentError) as raised:
        store.get(rules["bad"])
    assert rules["kept"].credentials == "s3://keys/2/kept.json"
    with pytest.raises(PermanentError, match="Give them to the origin strategy in the DLCS"):
        store.get(rules["none"])
    shown = f"{rules} {customer(source)} {credentials} {source.problem()} {raised.value} {caplog.text}"
    assert "s3cr3t" not in shown


def test_quotas_and_totals_are_those_of_the_dlcs(dlcs: Dlcs, source: DlcsCustomers) -> None:
    dlcs.limit("small", 10, 5000)
    dlcs.customer(2, stored=4900, storage_policy="small")
    dlcs.customer(3, storage_policy="gone")
    assert customer(source).quota == Quota(10, 5000, 4900)
    assert customer(source, 3).quota == Quota()
    assert "CustomerStorage of customer 3 has a storage policy gone that is not there" in str(source.problem())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "not JSON"),
        ("!400,400", "not JSON"),
        ('{"sizes": []}', "no list of sizes"),
        ("[400]", "no list of sizes"),
        ("[]", "has no sizes"),
        ('["pct:50"]', "of no use"),
    ],
)
def test_a_policy_of_no_use_costs_its_images_only(
    dlcs: Dlcs, source: DlcsCustomers, data: str | None, reason: str
) -> None:
    """Not even where it takes the place of one that every customer has."""
    dlcs.customer(2)
    dlcs.policy(2, "thumbs", "default", data)
    dlcs.policy(2, "thumbs", "large", SIZES)
    dlcs.default_channel(2, None, "image/*", "thumbs", "default")
    policies = customer(source).policies
    check_requested([RequestedChannel(Channel.THUMBS, "large")], policies)
    for requested in ([RequestedChannel(Channel.THUMBS, "default")], [RequestedChannel(Channel.THUMBS)], None):
        with pytest.raises(MessageRejectedError, match=reason) as raised:
            resolve_channels(requested, "image/tiff", policies)
        assert raised.value.code == "policy_unusable"
    assert reason in str(source.problem())


@pytest.mark.parametrize(
    ("regex", "strategy", "reason"),
    [
        ("(?<open>a)(?<-open>b)", "default", "has a regex that does not compile"),
        ("(a+)+$", "default", "has a regex that takes too long"),
        ("partner", "ftp", "has an unknown strategy 'ftp'"),
    ],
)
def test_a_strategy_of_no_use_costs_what_it_might_decide(
    dlcs: Dlcs, source: DlcsCustomers, regex: str, strategy: str, reason: str
) -> None:
    """What an earlier one decides is not affected, nor another customer."""
    dlcs.customer(2)
    dlcs.customer(3)
    dlcs.strategy(2, "good", "good", order=1)
    dlcs.strategy(2, "bad", regex, strategy, order=2)
    assert origin(source, "https://good.example/partner.tif").rule.id == "good"
    assert origin(source, "https://partner.example/a.tif", number=3).rule is None
    with pytest.raises(PermanentError, match="'bad' of customer 2 cannot be used here") as raised:
        origin(source, "https://partner.example/a.tif")
    assert raised.value.code == "origin_strategy_unusable"
    assert f"CustomerOriginStrategies 'bad' of customer 2 {reason}" in str(source.problem())


def test_the_file_adds_what_the_dlcs_has_no_table_for(dlcs: Dlcs, source: DlcsCustomers, path: Path) -> None:
    dlcs.limit("default", 10, 1000)
    dlcs.customer(2)
    dlcs.strategy(2, "partner", "sftp", "sftp", credentials=SECRET)
    key = "scanner.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"
    path.write_text(
        "customers: {2: {buckets: {scans: {}}, private_networks: [10.1.0.0/16], runs_in_flight: 3, "
        f"known_hosts: ['{key}']}}, 9: {{}}}}"
    )
    found = customer(source)
    assert (found.runs_in_flight, found.buckets) == (3, {"scans": OriginBucket()})
    assert [str(each) for each in found.private_networks] == ["10.1.0.0/16"]
    assert [rule.known_hosts for rule in found.rules] == [(key,)]
    assert source.problem() == "The customers file names customer 9, whom the DLCS does not have"
    assert source.customers().find(9) is None


@pytest.mark.parametrize(
    "field", ["quota: {images: 1}", "origins: []", "policies: {}", "default_channels: []", "spaces: {}"]
)
def test_what_the_dlcs_says_is_not_for_the_file(dlcs: Dlcs, source: DlcsCustomers, path: Path, field: str) -> None:
    dlcs.customer(2)
    path.write_text(f"customers: {{2: {{{field}}}}}")
    name = field.partition(":")[0]
    assert f"customers.2.{name}: is given; expected only without the DLCS's database" in str(source.problem())


def test_a_change_in_the_dlcs_holds_within_half_a_minute(dlcs: Dlcs, source: DlcsCustomers, clock: Clock) -> None:
    dlcs.customer(2)
    assert customer(source).rules == ()
    dlcs.strategy(2, "new", "new")
    assert customer(source).rules == ()
    clock.pass_time()
    assert [rule.id for rule in customer(source).rules] == ["new"]


def test_a_customer_that_is_new_is_known_at_once(dlcs: Dlcs, source: DlcsCustomers, clock: Clock) -> None:
    """The first message about its images may come within the half minute, and must not be rejected."""
    assert source.find(2) is None
    dlcs.customer(2)
    clock.now += SOON_SECONDS
    assert source.find(2) is not None


def test_what_was_read_stays_in_force_while_the_dlcs_is_away(dlcs: Dlcs, source: DlcsCustomers, clock: Clock) -> None:
    dlcs.limit("default", 10, 1000)
    dlcs.customer(2)
    customer(source)
    dlcs.execute('ALTER TABLE "Customers" RENAME TO "Away"')
    clock.pass_time()
    assert customer(source).number == 2
    assert "lacks the table Customers" in str(source.problem())
    assert "What it said last stays in force" in str(source.problem())
    dlcs.execute('ALTER TABLE "Away" RENAME TO "Customers"')
    clock.pass_time()
    assert source.problem() is None


def test_without_ever_an_answer_everything_waits(clock: Clock, path: Path, tmp_path: Path) -> None:
    file = CustomersFile(path, tmp_path / "last-good.yaml", Customers({}), adds_to_dlcs=True)
    with closing(DlcsDatabase("postgresql://u:secret@127.0.0.1:1/x")) as nowhere:
        source = DlcsCustomers(nowhere, file, clock=clock)
        with pytest.raises(NoCustomersError, match="does not answer") as raised:
            source.customers()
        assert "secret" not in f"{raised.value} {source.problem()}"


def settings_for(dlcs: Dlcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Settings:
    monkeypatch.delenv("DLCS_CUSTOMERS_FILE", raising=False)
    monkeypatch.delenv("DLCS_CUSTOMERS", raising=False)
    monkeypatch.chdir(tmp_path)
    return Settings(database_url=dlcs.url, scratch=tmp_path / "scratch", **more)


def test_settings_choose_the_database_and_the_customers(
    dlcs: Dlcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (2, 3, 4):
        dlcs.customer(number)
    settings = settings_for(dlcs, tmp_path, monkeypatch, customers=(2, 4, 5), s3_origin_buckets=("scans",))
    customers = customer_source(settings).customers()
    assert sorted(customers.by_number) == [2, 4]
    assert customers.get(2).buckets == {"scans": OriginBucket()}


def test_doctor_says_what_the_database_is(dlcs: Dlcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dlcs.limit("default", 10, 1000)
    dlcs.customer(2)
    settings = settings_for(dlcs, tmp_path, monkeypatch)
    (found,) = check_dlcs_database(settings)
    assert (found.verdict, f"layout of {dlcs.layout}" in found.whole()) == (Verdict.OK, True)
    assert [finding.whole() for finding in check_customers(settings)] == ["1 customers of the DLCS"]
    dlcs.execute("INSERT INTO \"__EFMigrationsHistory\" VALUES ('20270101000000_More', '10')")
    (found,) = check_dlcs_database(settings)
    assert (found.verdict, "newer than this software knows" in found.whole()) == (Verdict.WARN, True)


@pytest.fixture(autouse=True)
def _sources_of_their_own() -> Iterator[None]:
    yield
    customers_source._shared_database.cache_clear()
