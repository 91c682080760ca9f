"""What a claim takes, in which order, and what it writes: the same on every database."""

import json
import re
import time
import tracemalloc

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_delayed import claiming
from django_delayed.claiming import COLUMNS, KNOWN, REMEMBER_ABOVE
from django_delayed.databases import DatabaseNow, Filters, Lane, database, insert
from django_delayed.databases.lanes import LARGEST_PAYLOAD
from django_delayed.models import DelayedJob, PausedQueue

pytestmark = pytest.mark.django_db

W1, W2 = "1" * 32, "2" * 32


def claimed(worker=W1, limit=1, **filters):
    return [row.name for row in DelayedJob.objects.claim(worker, limit, Filters(**filters))]


def test_the_best_priority_goes_first(add):
    add("usual", due=-60)
    add("urgent", due=-1, priority=-10)
    add("some day", due=-600, priority=10)
    assert claimed(limit=10) == ["urgent", "usual", "some day"]


def test_of_equal_priority_the_lane_whose_head_waited_longest_goes_first(add):
    add("mail 1", due=-30, queue="mail")
    add("mail 2", due=-1, queue="mail")
    add("images 1", due=-20, queue="images")
    add("search 1", due=-40, queue="search")
    assert claimed(limit=10) == ["search 1", "mail 1", "mail 2", "images 1"]


def test_queues_may_go_in_the_order_in_which_they_are_named(add):
    add("usual", due=-60, queue="default", priority=-10)
    add("mail later", due=-1, queue="mail_de", priority=10)
    add("mail", due=-1, queue="mail_en", priority=5)
    add("index", due=-90, queue="index")
    add("slow", due=-90, queue="mail_slow")
    order = ("index", "mail_*", "!mail_slow", "*")
    assert claimed(limit=2, queues=order, in_order=True) == ["index", "mail"]
    assert claimed(limit=9, queues=order, in_order=True) == ["mail later", "usual"]


def test_a_queue_that_several_patterns_name_has_the_place_of_the_first(add):
    for queue in ("b", "c", "a"):
        add(queue, due=-1, queue=queue)
    assert claimed(limit=9, queues=("c", "[abc]", "a"), in_order=True)[0] == "c"


def test_in_a_lane_the_rows_go_by_run_at_and_then_by_id(add):
    for name, due in [("third", -10), ("first", -30), ("second", -20)]:
        add(name, due=due)
    same = DelayedJob.objects.order_by("run_at").first().run_at
    twins = [add(name, due=-5) for name in ("fourth", "fifth")]
    DelayedJob.objects.filter(pk__in=[row.pk for row in twins]).update(run_at=same)
    assert claimed(limit=10) == ["first", "fourth", "fifth", "second", "third"]


def test_single_claims_take_the_rows_in_the_same_order(add):
    add("b", due=-20)
    add("c", due=-40, priority=1)
    add("a", due=-30)
    assert [claimed() for _ in range(4)] == [["a"], ["b"], ["c"], []]


def test_a_claim_takes_at_most_its_limit_across_lanes(add):
    for number in range(6):
        add(f"mail {number}", due=-60 + number, queue="mail")
        add(f"images {number}", due=-50 + number, queue="images")
    assert claimed(limit=4) == [f"mail {number}" for number in range(4)]
    assert claimed(limit=4) == ["mail 4", "mail 5", "images 0", "images 1"]
    assert len(claimed(limit=100)) == 4


def test_a_row_that_is_not_due_is_not_claimed(add):
    add("later", due=3600, priority=-100)
    add("now")
    assert claimed(limit=10) == ["now"]


@pytest.mark.parametrize("column", ["locked_at", "failed_at", "finished_at"])
def test_a_row_that_is_held_or_has_ended_is_not_claimed(add, column):
    row = add(due=-60)
    DelayedJob.objects.filter(pk=row.pk).update(**{column: row.created_at})
    assert claimed(limit=10) == []
    assert DelayedJob.objects.next_due() is None


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, {"mail -5", "mail 0", "mail 5", "images -5", "images 0", "images 5"}),
        ({"queues": ("mail",)}, {"mail -5", "mail 0", "mail 5"}),
        ({"queues": ("mail", "nothing")}, {"mail -5", "mail 0", "mail 5"}),
        ({"queues": ("nothing",)}, set()),
        ({"min_priority": 0}, {"mail 0", "mail 5", "images 0", "images 5"}),
        ({"max_priority": 0}, {"mail -5", "mail 0", "images -5", "images 0"}),
        ({"min_priority": 0, "max_priority": 0}, {"mail 0", "images 0"}),
        ({"queues": ("images",), "min_priority": -5, "max_priority": -1}, {"images -5"}),
    ],
)
def test_filters_choose_the_lanes_and_their_bounds_are_inclusive(add, filters, names):
    for queue in ("mail", "images"):
        for priority in (-5, 0, 5):
            add(f"{queue} {priority}", due=-1, queue=queue, priority=priority)
    assert set(claimed(limit=100, **filters)) == names


@pytest.mark.parametrize("pair", [("mail", "Mail"), ("resume", "résumé"), ("a", "á")])
def test_queues_whose_names_look_alike_are_two_queues(add, pair):
    for queue in pair:
        add(queue, queue=queue, due=-1)
    assert {lane.queue for lane in claiming.lanes(DelayedJob.objects.all())} == set(pair)
    for queue in pair:
        assert claimed(limit=10, queues=(queue,)) == [queue]


@pytest.mark.parametrize(
    ("patterns", "served"),
    [
        (["mail_*"], {"mail_de", "mail_en", "mail_slow"}),
        (["mail_??"], {"mail_de", "mail_en"}),
        (["mail_[de]?"], {"mail_de", "mail_en"}),
        (["*"], {"mail", "mail_de", "mail_en", "mail_slow", "index"}),
        (["!mail_slow"], {"mail", "mail_de", "mail_en", "index"}),
        (["*", "!mail*"], {"index"}),
        (["mail_*", "index", "!*_slow"], {"mail_de", "mail_en", "index"}),
        (["!mail*", "mail_de"], set()),
        (["Mail*"], set()),
    ],
    ids=" ".join,
)
def test_queues_are_served_by_patterns_and_all_but_some(add, patterns, served):
    for queue in ("mail", "mail_de", "mail_en", "mail_slow", "index"):
        add(queue, queue=queue, due=-1)
    filters = {"queues": tuple(patterns)}
    assert (DelayedJob.objects.next_due(Filters(**filters)) is not None) == bool(served)
    assert set(claimed(limit=10, **filters)) == served


@pytest.mark.parametrize("queue", ["", "q'uo\"te", "100% %s", "back\\slash", "日本語", "🦀", "x" * 255])
def test_a_queue_may_have_any_name(add, queue):
    add("a", queue=queue, due=-1)
    [row] = DelayedJob.objects.claim(W1, 10, Filters(queues=(queue,)))
    assert row.queue == queue


def test_a_claim_counts_the_attempt_and_writes_worker_time_and_token(add):
    row = add(due=-60)
    tokens = set()
    for number in (1, 2):
        [held] = DelayedJob.objects.claim(W1)
        assert (held.attempts, held.locked_by) == (number, W1)
        assert held.locked_at >= row.created_at
        row.refresh_from_db()
        assert (row.attempts, row.locked_at, row.lock_token) == (number, held.locked_at, held.lock_token)
        tokens.add(held.lock_token)
        DelayedJob.objects.filter(pk=row.pk).update(locked_at=None)
    assert len(tokens) == 2


def test_the_rows_of_one_claim_have_one_token_and_no_other_claim_has_it(add):
    for number in range(6):
        add(due=-60, queue=f"queue {number % 2}")
    tokens = [{row.lock_token for row in DelayedJob.objects.claim(W1, 3)} for _ in range(2)]
    assert [len(token) for token in tokens] == [1, 1]
    assert tokens[0] != tokens[1]
    assert all(0 < token < 2**63 for [token] in tokens)


def test_a_row_claimed_alone_has_started_one_of_a_batch_has_not(add):
    add("single", due=-60)
    add("batch", due=-30)
    [single] = DelayedJob.objects.claim(W1, 1)
    [batch] = DelayedJob.objects.claim(W1, 10)
    assert single.started_at == single.locked_at
    assert batch.started_at is None


@pytest.mark.parametrize("error", [{}, {"error_class": "E", "error_message": "e", "last_error": "E: e"}])
def test_a_claimed_row_has_the_values_of_the_database(add, error):
    add("whole", queue="mail", priority=-3, about="blog.post:9", max_attempts=7, due=-1, **error)
    [row] = DelayedJob.objects.claim(W1)
    assert row.get_deferred_fields() == set()
    assert row._state.db == connection.alias
    assert {field.name: getattr(row, field.name) for field in row._meta.fields} == {
        field.name: getattr(DelayedJob.objects.get(), field.name) for field in row._meta.fields
    }


@pytest.mark.parametrize("limit", [1, 10])
def test_a_large_payload_is_read_when_its_job_is_loaded(add, limit):
    small, large = (json.dumps({"v": 1, "fill": "x" * length}) for length in (10, LARGEST_PAYLOAD))
    for number, payload in enumerate([large, small, large]):
        add(f"job {number}", due=-60 + number, payload=payload)
    rows = []
    while taken := DelayedJob.objects.claim(W1, limit):
        rows += taken
    assert [row.name for row in rows] == ["job 0", "job 1", "job 2"]
    assert [row.get_deferred_fields() for row in rows] == [{"payload"}, set(), {"payload"}]
    assert [row.payload for row in rows] == [large, small, large]
    assert [row.get_deferred_fields() for row in rows] == [set()] * 3


def test_a_payload_is_large_from_one_byte_more_on(add):
    for length in (LARGEST_PAYLOAD, LARGEST_PAYLOAD + 1):
        add(due=-60, payload="x" * length)
    rows = DelayedJob.objects.claim(W1, 10)
    assert [row.get_deferred_fields() for row in rows] == [set(), {"payload"}]


def test_an_unreadable_row_with_a_large_payload_is_set_aside(add):
    add(due=-60, payload="x" * 2 * LARGEST_PAYLOAD, attempts=2**31 - 2)
    add("sound", due=-60, payload="x" * 2 * LARGEST_PAYLOAD)
    assert [row.name for row in DelayedJob.objects.claim(W1, 10)] == ["sound"]
    assert DelayedJob.objects.failed().count() == 1


def test_a_batch_of_large_payloads_takes_the_memory_of_one(add):
    payload = "x" * 1_000_000
    for _ in range(20):
        add(due=-60, payload=payload)
    tracemalloc.start()
    try:
        assert len(DelayedJob.objects.claim(W1, 100)) == 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(payload)


def test_a_claim_reads_only_the_columns_that_a_worker_needs(add):
    add(due=-1)
    with CaptureQueriesContext(connection) as queries:
        assert len(DelayedJob.objects.claim(W1)) == 1
    [reading] = [q["sql"] for q in queries if "payload" in q["sql"]]
    read = reading.partition("RETURNING")[2] or reading.partition("FROM")[0]
    names = {field.column for field in DelayedJob._meta.fields}
    assert {name for name in names if re.search(rf"\b{name}\b", read)} == set(COLUMNS)
    assert names - set(COLUMNS) == set(KNOWN)


def test_a_row_that_one_worker_has_claimed_is_not_claimed_by_another(add):
    for number in range(10):
        add(f"job {number}", due=-20 + number)
    first, second = claimed(W1, limit=6), claimed(W2, limit=6)
    assert len(first) == 6
    assert len(second) == 4
    assert not set(first) & set(second)


def test_the_claim_works_in_a_callers_transaction_and_is_rolled_back_with_it(add):
    add(due=-1)
    with transaction.atomic():
        assert claimed() == ["a job"]
        transaction.set_rollback(True)
    row = DelayedJob.objects.get()
    assert (row.attempts, row.locked_at, row.claimable) == (0, None, 1)


def test_next_due_tells_how_long_to_wait(add):
    assert DelayedJob.objects.next_due() is None
    add(due=3600, queue="mail")
    add(due=600, queue="images", priority=5)
    assert 500 < DelayedJob.objects.next_due() <= 601
    assert 3500 < DelayedJob.objects.next_due(Filters(queues=("mail",))) <= 3601
    assert 3500 < DelayedJob.objects.next_due(Filters(max_priority=4)) <= 3601
    assert DelayedJob.objects.next_due(Filters(queues=("search",))) is None
    add(due=-7)
    assert -60 < DelayedJob.objects.next_due() < -6


def test_the_lanes_are_all_pairs_that_have_waiting_rows(add):
    add(queue="mail", priority=1, due=60)
    add(queue="mail", priority=1, due=30)
    add(queue="mail", priority=-1)
    add(queue="images", priority=1)
    assert claiming.lanes(DelayedJob.objects.all()) == [
        Lane("images", 1, pytest.approx(0, abs=20)),
        Lane("mail", -1, pytest.approx(0, abs=20)),
        Lane("mail", 1, pytest.approx(30, abs=20)),
    ]


def fill_lanes(count, rows_each=1):
    numbers = range(count * rows_each)
    rows = [
        DelayedJob(name=f"job {n}", payload="{}", queue=f"queue {n % count}", priority=n % 7) for n in numbers
    ]
    for start in range(0, len(rows), 1000):
        insert(connection, rows[start : start + 1000])


def test_every_lane_of_a_thousand_is_served():
    fill_lanes(1000)
    names = []
    while batch := DelayedJob.objects.claim(W1, 100):
        assert len(batch) <= 100
        names += batch
    assert len(names) == len({row.pk for row in names}) == 1000
    assert [row.priority for row in names] == sorted(row.priority for row in names)


def scans(queries):
    return len([query for query in queries if re.search("TIMESTAMPDIFF|RECURSIVE", query["sql"])])


@pytest.fixture
def later(monkeypatch):
    """Let time pass on the clock that measures the age of a list of lanes."""
    monotonic, passed = time.monotonic, []
    monkeypatch.setattr("django_delayed.claiming.time.monotonic", lambda: monotonic() + sum(passed))
    return passed.append


@pytest.fixture
def remember_for(monkeypatch):
    """Set for how many seconds a long list of lanes is remembered."""
    return lambda seconds: monkeypatch.setattr("django_delayed.claiming.REMEMBER_FOR", seconds)


def test_a_long_list_of_lanes_is_remembered_and_read_again_when_it_is_used_up(add, remember_for):
    remember_for(3600)
    fill_lanes(REMEMBER_ABOVE + 1, rows_each=2)
    with CaptureQueriesContext(connection) as queries:
        rows = [row for _ in range(REMEMBER_ABOVE + 1) for row in DelayedJob.objects.claim(W1, 2)]
        add("new", queue="a new lane", due=-1)
        # The first of these finds the list used up.
        assert [*claimed(limit=2), *claimed(limit=2)] == ["new"]
    assert len({row.pk for row in rows}) == 2 * (REMEMBER_ABOVE + 1)
    assert scans(queries) == 2


def test_a_long_list_of_lanes_is_read_again_when_it_is_old(add, remember_for, later):
    remember_for(3600)
    fill_lanes(REMEMBER_ABOVE + 1)
    assert len(DelayedJob.objects.claim(W1)) == 1
    add("new", queue="a new lane", due=-1, priority=-1)
    assert claimed() != ["new"]
    later(3601)
    assert claimed() == ["new"]


def test_a_lane_that_is_remembered_falls_due(add, remember_for, later):
    remember_for(86400)
    fill_lanes(REMEMBER_ABOVE + 1)
    add("soon", queue="soon", due=3600, priority=-1)
    filters = Filters(queues=("soon",))
    # It may be a little more than an hour where the clock of the database is rounded.
    assert 3500 < DelayedJob.objects.next_due(filters) < 3601
    # It is due by the clock of the database; in the list that is remembered it is due in an hour.
    DelayedJob.objects.filter(name="soon").update(run_at=DatabaseNow())
    assert claimed() != ["soon"]
    later(1800)
    assert 1700 < DelayedJob.objects.next_due(filters) < 1801
    assert claimed() != ["soon"]
    later(1801)
    assert DelayedJob.objects.next_due(filters) <= 0
    assert claimed() == ["soon"]


def test_a_short_list_of_lanes_is_never_remembered(add):
    add("first", due=-1)
    assert claimed(limit=10) == ["first"]
    add("second", due=-1, queue="another")
    assert claimed(limit=10) == ["second"]


def test_a_claim_may_use_lanes_that_were_read_just_before(add, lane_scans):
    for number in range(3):
        add(name=str(number), due=number - 9)
    assert [row.name for row in DelayedJob.objects.claim(W1, recent=60)] == ["0"]
    add(name="better", due=-1, priority=-9)
    assert [row.name for row in DelayedJob.objects.claim(W1, recent=60)] == ["1"]
    assert len(lane_scans) == 1
    assert [row.name for row in DelayedJob.objects.claim(W1)] == ["better"]
    assert len(lane_scans) == 2


def test_lanes_in_which_nothing_is_left_are_read_again(add, lane_scans):
    add(name="first", due=-1)
    assert [row.name for row in DelayedJob.objects.claim(W1, recent=60)] == ["first"]
    add(name="other", due=-1, queue="other")
    assert [row.name for row in DelayedJob.objects.claim(W1, recent=60)] == ["other"]
    assert len(lane_scans) == 2
    assert DelayedJob.objects.claim(W1, recent=60) == []
    assert len(lane_scans) == 3


@pytest.fixture
def lane_scans(monkeypatch):
    """A line for each time that the lanes are read."""
    claiming.forget_lanes()
    kind, scans = type(database(connection)), []
    scan = kind.scan_lanes
    monkeypatch.setattr(
        kind, "scan_lanes", lambda self, *tables: (scans.append(tables), scan(self, *tables))[1]
    )
    return scans


# Pauses


def pause_queue(queue):
    PausedQueue.objects.create(queue=queue, paused_at=timezone.now())


def test_no_job_of_a_paused_queue_is_claimed_until_it_is_resumed(add):
    add("mail", queue="mail", priority=-10)
    add("another mail", queue="mail")
    add("images", queue="images")
    pause_queue("mail")
    assert claimed(limit=10) == ["images"]
    assert claimed(limit=10) == []
    PausedQueue.objects.all().delete()
    assert claimed(limit=10) == ["mail", "another mail"]


@pytest.mark.parametrize(("paused", "names"), [("mail", []), ("Mail", ["job"])])
def test_a_pause_is_of_one_name_letter_by_letter(add, paused, names):
    add("job", queue="mail")
    pause_queue(paused)
    assert claimed() == names


def test_a_worker_does_not_wait_for_a_paused_queue(add):
    add(queue="mail", due=-60)
    add(queue="images", due=60)
    pause_queue("mail")
    assert 30 < DelayedJob.objects.next_due() <= 61
    pause_queue("images")
    assert DelayedJob.objects.next_due() is None


def test_a_pause_costs_a_claim_no_statement(add):
    add(queue="mail")
    with CaptureQueriesContext(connection) as without:
        claimed()
    add(queue="mail")
    pause_queue("images")
    with CaptureQueriesContext(connection) as beside_one:
        claimed()
    assert len(beside_one) == len(without)


def test_the_lanes_of_a_paused_queue_say_so(add):
    add(queue="mail")
    add(queue="images")
    pause_queue("mail")
    lanes = claiming.lanes(DelayedJob.objects.all())
    assert {lane.queue: bool(lane.is_paused) for lane in lanes} == {"mail": True, "images": False}


def test_a_pause_holds_among_many_lanes_after_a_second(add, remember_for, later):
    remember_for(1.0)
    add("job", queue="mail")
    assert claiming.lanes(DelayedJob.objects.all())
    pause_queue("mail")
    later(1.1)
    assert claimed() == []
