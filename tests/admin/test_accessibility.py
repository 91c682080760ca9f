"""axe-core finds nothing serious or critical on the pages of the admin."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django_delayed.models import DelayedJob, FailureGroup, PausedQueue, Progress, Schedule, WorkerProcess
from django_delayed.states import State
from django_delayed.urls import progress_url
from tests.playground.browser import chromium, open_tab, scripts

from shop.models import Supplier

__all__ = ["chromium", "open_tab", "scripts"]

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")

pytestmark = pytest.mark.browser


@pytest.fixture
def failed_job(job, failed_attempt, worker, minute):
    """Write rows of each kind. Returns the id of a failed job."""
    now = timezone.now()
    for state in State:
        row = job(state, queue="mail", error_fingerprint="c1")
    row = job(State.FAILED, error_fingerprint="c1")
    for one in DelayedJob.objects.filter(attempts__gt=0):
        Progress.objects.create(pk=one.pk, done=1, total=4, note="reading", updated_at=now)
    failed_attempt(row)
    WorkerProcess.objects.update(slots=json.dumps([[row.pk, 90]]))
    silent = now - timedelta(hours=1)
    WorkerProcess.objects.create(id="2" * 32, hostname="web", pid=8, started_at=silent, heartbeat_at=silent)
    for ago in range(2, 60, 7):
        minute(timedelta(minutes=ago), processed=ago, failed=ago // 2, waited=ago, longest=ago)
    PausedQueue.objects.create(queue="images", paused_at=now, paused_by="ann")
    noted = {"note": "known", "noted_at": now, "noted_by": "ann"}
    FailureGroup.objects.create(fingerprint="c1", first_seen_at=now, **noted)
    daily = {"job": "tests.blog.jobs:Plain", "cron": "0 3 * * *", "since": 0}
    Schedule.objects.create(name="clean", **daily)
    Schedule.objects.create(name="gone", in_code=True, **daily)
    Supplier.objects.create(name="Acme", url="https://acme.example")
    return row.pk


def pages(failed):
    """The addresses of the pages."""

    def address(model, name, *args):
        return reverse(f"admin:django_delayed_{model}_{name}", args=args)

    listed, causes = address("delayedjob", "changelist"), address("failuregroup", "changelist")
    schedule = Schedule.objects.latest("pk").pk
    retrying = DelayedJob.objects.retrying().get().pk
    return [
        reverse("admin:index"),
        address("pausedqueue", "changelist"),
        listed,
        *(f"{listed}?state={state}" for state in ("running", "failed", "finished")),
        address("delayedjob", "change", failed),
        *(address("delayedjob", name, failed) for name in ("retry", "discard")),
        *(address("delayedjob", name, retrying) for name in ("change", "adjust", "give_up")),
        reverse("admin:shop_supplier_change", args=[Supplier.objects.get().pk]),
        f"{causes}?retrying=too",
        *(f"{address('failuregroup', name)}?cause=c1" for name in ("cause", "retry", "discard")),
        address("workerprocess", "changelist"),
        address("pausedqueue", "operations"),
        address("schedule", "changelist"),
        address("schedule", "add"),
        address("schedule", "change", schedule),
        # The pages on which users see a running and a finished job.
        progress_url(DelayedJob.objects.running().first()),
        progress_url(DelayedJob.objects.finished().first()),
    ]


# Django marks links beside text by their color alone, and its search field only by its title.
DJANGO_S_OWN = [[".breadcrumbs"], ["#changelist-search"]]
# Preloading adds style sheets to the page, which our content security policy refuses.
NO_STYLES_OF_ITS_OWN = {"preload": False}


def findings(tab):
    """The serious and critical problems that axe finds: the rule and the element of each."""
    seen = axe.Axe().run(tab, {"exclude": DJANGO_S_OWN}, NO_STYLES_OF_ITS_OWN)
    violations = seen.response["violations"]
    return [
        (violation["id"], node["target"])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem_on_a_page(open_tab, client, admin_user, failed_job, scheme, width):
    client.force_login(admin_user)
    tab = open_tab(client)
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 900})
    found = {}
    for address in pages(failed_job):
        tab.goto(address)
        # axe does not see the content of closed details.
        tab.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        if found_here := findings(tab):
            found[address] = found_here
    assert found == {}


def test_axe_finds_a_problem_that_is_there(open_tab, client, admin_user):
    client.force_login(admin_user)
    tab = open_tab(client)
    tab.goto(reverse("admin:index"))
    tab.evaluate("document.querySelector('#content').insertAdjacentHTML('beforeend', '<button></button>')")
    assert [rule for rule, _ in findings(tab)] == ["button-name"]
