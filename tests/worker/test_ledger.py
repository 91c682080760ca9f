"""The entries on the page about jobs that are performed and not settled yet."""

import mmap
import os
from datetime import timedelta

import pytest
from django_delayed.worker.activity import Activity
from django_delayed.worker.ledger import LEDGER_SIZE, MOST, RESULTS_SIZE, Ledger, results_in

SECOND = timedelta(seconds=1)


@pytest.fixture
def ledger():
    return Ledger(mmap.mmap(-1, LEDGER_SIZE), 0)


def test_it_has_the_ids_in_the_order_in_which_they_were_added_until_it_is_cleared(ledger):
    assert (len(ledger), tuple(ledger.ids), ledger.last) == (0, (), None)
    for id in (2**63 - 1, 7, 1):
        ledger.add(id)
    assert (len(ledger), tuple(ledger.ids), ledger.last) == (3, (2**63 - 1, 7, 1), 1)
    ledger.clear()
    assert (len(ledger), tuple(ledger.ids), ledger.last) == (0, (), None)
    ledger.add(8)
    assert tuple(ledger.ids) == (8,)


def test_it_has_place_for_a_limited_number_of_jobs(ledger):
    for id in range(MOST):
        assert ledger.has_place_for()
        ledger.add(id)
    assert not ledger.has_place_for()
    assert tuple(ledger.ids) == tuple(range(MOST))
    with pytest.raises(OverflowError):
        ledger.add(MOST)
    assert len(ledger) == MOST


def test_it_has_the_results_of_those_that_have_one(ledger):
    given = {2: b"1", 3: "ü€".encode() * 100, 2**63 - 1: b"12345678", 5: b"0" * 17}
    for id in (1, *given, 6):
        ledger.add(id, given.get(id, b""))
    assert results_in(ledger.written_results) == {id: result.decode() for id, result in given.items()}
    assert tuple(ledger.ids) == (1, *given, 6)
    ledger.clear()
    assert results_in(ledger.written_results) == {}
    ledger.add(7, b"7")
    assert results_in(ledger.written_results) == {7: "7"}


@pytest.mark.parametrize("size", [1, 1000, RESULTS_SIZE // 2])
def test_it_has_no_place_for_more_results_than_fit(ledger, size):
    result, id = b"x" * size, 0
    while ledger.has_place_for(result) and id < MOST:
        ledger.add(id := id + 1, result)
    assert len(results_in(ledger.written_results)) == id
    with pytest.raises(OverflowError):
        ledger.add(id + 1, b"x" * RESULTS_SIZE)
    assert len(ledger) == id


def test_results_are_read_with_the_ids_that_they_belong_to(monkeypatch):
    page = Activity()
    [slot] = page.slots
    slot.claim(1)
    slot.ledger.add(1, b"first")
    written, calls = Ledger.written_results.fget, []

    def settle_meanwhile(ledger):
        if not calls:
            calls.append(True)
            ledger.clear()
            ledger.add(2, b"second, and longer")
        return written(ledger)

    monkeypatch.setattr(Ledger, "written_results", property(settle_meanwhile))
    assert slot.unsettled() == (1, (2,), {2: "second, and longer"})
    page.close()


def test_it_says_whether_another_process_settles_too(ledger):
    assert not ledger.was_settled_by_another(9)
    ledger.settles_too(9)
    assert ledger.was_settled_by_another(9)
    assert not ledger.was_settled_by_another(10)


def test_each_slot_has_a_ledger_of_its_own_that_other_processes_read():
    page = Activity(slots=3)
    other = Activity(os.dup(page.fd))
    for number, slot in enumerate(page.slots, 1):
        slot.claim(number)
        for id in range(MOST):
            slot.ledger.add(number * MOST + id)
    for number, (token, ids, results) in enumerate(other.unsettled(), 1):
        assert (token, ids) == (number, tuple(range(number * MOST, (number + 1) * MOST)))
        assert results == {}
    assert not other.is_quiet
    page.close()
    other.close()


def test_a_job_in_the_ledger_is_not_the_current_one():
    page = Activity()
    [slot] = page.slots
    slot.begin(7, SECOND)
    slot.ledger.add(6)
    assert slot.current().id == 7
    slot.performed()
    slot.ledger.add(7)
    assert slot.current() is None
    slot.begin(8, SECOND)
    assert slot.current().id == 8
    page.close()
