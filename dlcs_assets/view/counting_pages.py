"""The pages of what is counted: images, bytes and quotas of customers, and how many images ended when."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from dlcs_assets.clients.sqs import Queues
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.domain.customers import Customers, Quota
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.ledger.accounting import Usage, total
from dlcs_assets.ledger.rates import SAMPLE
from dlcs_assets.view.numbers import Bar, Numbers, Period
from dlcs_assets.view.plots import COLOURS, lines, stacked
from dlcs_assets.view.queries import period_of
from dlcs_assets.view.site import ON_A_LIST, RATE_WINDOW, Site
from dlcs_assets.view.templating import shown_duration
from dlcs_assets.view.totals import Totals

OTHERS: Final = "others"
RED: Final = 1  # of the colours in the style sheet: reasons begin with it
PLOTTED: Final = [
    state.value
    for state in (ShownState.DONE, ShownState.FAILED, ShownState.DELETED, ShownState.PENDING, ShownState.CANCELLED)
]


class CountingPages:
    """The pages of what is counted. The functions run in threads, several at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._numbers = Numbers()
        self._totals = Totals()
        self._queues = Queues(attempts=1, timeout_seconds=5)

    def close(self) -> None:
        """Close the connections to the queues, and wait for a count that is under way."""
        self._totals.close()
        self._queues.close()

    def customers(self, _request: Request) -> Response:
        """Show how many images each customer has, where they are, what is stored of them, and what it may have."""
        configured = self._configured()
        summed = self._totals.get(self._site.ledger.accounting)
        stored = {(each.customer, each.space or 0): each for each in summed.spaces} if summed else {}
        counts_of = self._site.ledger.gallery.spaces()
        found = []
        for number in sorted({customer for customer, _ in counts_of} | {customer for customer, _ in stored}):
            places = sorted(place for place in counts_of.keys() | stored.keys() if place[0] == number)
            parts = [stored[place] for place in places if place in stored]
            known = configured.find(number) if configured else None
            found.append(
                {
                    "number": number,
                    "counts": {
                        state: sum(counts_of.get(place, {}).get(state, 0) for place in places) for state in ShownState
                    },
                    "stored": total(number, None, parts) if summed else None,
                    "quota": known.quota if known else Quota(),
                    "spaces": [
                        {
                            "space": place[1],
                            "counts": counts_of.get(place, dict.fromkeys(ShownState, 0)),
                            "stored": stored.get(place, Usage(*place)) if summed else None,
                        }
                        for place in places
                    ],
                }
            )
        return self._site.page(
            "customers.html", "Customers", customers=found, states=list(ShownState), at=summed.at if summed else None
        )

    def backfills(self, _request: Request) -> Response:
        """Show how far the newest backfills are, and what stops or continues them."""
        now = datetime.now(UTC)
        shown = []
        for each in self._site.ledger.backfills.newest(limit=ON_A_LIST):
            pace = self._site.ledger.backfills.pace(each, now=now, over=RATE_WINDOW)
            may_resume = not each.unended and (each.failed or each.cancelled)
            action = "resume" if may_resume else "cancel" if each.unended and not each.cancelled_at else None
            shown.append(
                {
                    "backfill": each,
                    "left": shown_duration(pace.left) if pace and pace.left else None,
                    "a_minute": f"{pace.a_minute:.1f}" if pace else None,
                    "command": f"dlcs backfills {action} {each.id}" if action else None,
                }
            )
        return self._site.page("backfills.html", "Backfills", backfills=shown, of_dagster=self._site.links.backfills)

    def numbers(self, request: Request) -> Response:
        """Plot how many images ended when, why some failed, and how long stages took."""
        period = period_of(request.query_params)
        bars = self._numbers.bars(self._site.ledger.rates, period, datetime.now(UTC))
        series = [(bar.since, bar) for bar in bars if bar is not None]
        minutes = period.bar / timedelta(minutes=1)
        reasons: dict[str, int] = {}
        for _, bar in series:
            for code, count in bar.ended.by_reason.items():
                reasons[code] = reasons.get(code, 0) + count
        frequent = sorted(reasons, key=lambda code: (-reasons[code], code))[: COLOURS - 1]

        def by_reason(bar: Bar) -> dict[str, float]:
            named = {code: float(bar.ended.by_reason.get(code, 0)) for code in frequent}
            rest = sum(bar.ended.by_reason.values()) - sum(named.values())
            return {**named, OTHERS: rest} if rest else named

        names = [*frequent, OTHERS] if len(reasons) > len(frequent) else frequent
        states = [
            (since, {state.value: n / minutes for state, n in bar.ended.by_state.items()}) for since, bar in series
        ]
        failed = [(since, by_reason(bar)) for since, bar in series]
        seconds = [(since, {stage.value: n for stage, n in bar.seconds.items()} or None) for since, bar in series]
        return self._site.page(
            "numbers.html",
            "Numbers",
            period=period,
            periods=list(Period),
            counts=self._site.ledger.reports.counts(),
            queues=self._depths(),
            missing=len(bars) - len(series),
            sample=SAMPLE,
            plots=[
                stacked("Images that ended", "a minute", PLOTTED, states, period.bar),
                stacked("Failures by reason", "images", names, failed, period.bar, first_colour=RED),
                lines("Time of a stage", "seconds an image", [stage.value for stage in STAGES], seconds, period.bar),
            ],
        )

    def _depths(self) -> list[tuple[str, int]]:
        """Return about how many messages are on each queue; a queue that does not answer is left out."""
        settings = self._site.settings
        urls = {"ingest": settings.ingest_queue_url, "priority": settings.priority_queue_url}
        found = []
        for name, url in urls.items():
            if url is not None:
                with suppress(IngestError):
                    depth = self._queues.depth(url)
                    found.append((name, depth.waiting + depth.delayed + depth.in_flight))
        return found

    def _configured(self) -> Customers | None:
        try:
            return customer_source(self._site.settings).customers()
        except (NoCustomersError, IngestError):
            return None  # dlcs doctor says why
