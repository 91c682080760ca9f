"""When the next worker starts after one that has ended by itself, on a clock that the test sets."""

from itertools import pairwise

import pytest
from django_delayed.supervisor import restart
from django_delayed.supervisor.restart import AFTER_A_CRASH, RETRY_BROKEN_CODE_AFTER, STEADY, Restart

AT_ONCE, LONGEST = 0.125, 6.25  # seconds; the upper bounds of the shortest and of the longest pause


def pause_after(next_worker, clock, lived, in_a_job=False):
    """Seconds, within a hundredth, until the next worker is due if one that lived so long ends now."""
    next_worker.worker_failed(lived, in_a_job)
    ended = clock.now
    while not next_worker.is_due():
        clock.now += 0.01
    return clock.now - ended


def test_the_first_worker_is_due_at_once(clock):
    assert Restart().is_due()


def test_workers_that_end_soon_after_their_start_are_replaced_after_longer_and_longer_pauses(clock):
    next_worker = Restart()
    pauses = [pause_after(next_worker, clock, lived=1) for _ in range(9)]
    assert pauses[0] < AT_ONCE + 0.02
    assert all(later > earlier for earlier, later in pairwise(pauses[:6]))
    assert max(pauses) > 3.7
    assert max(pauses) < LONGEST + 0.02


@pytest.mark.parametrize("lived", [STEADY + 0.1, 60, 86400])
def test_a_worker_that_ended_after_a_steady_life_is_replaced_at_once_whatever_came_before(clock, lived):
    next_worker = Restart()
    for _ in range(9):
        pause_after(next_worker, clock, lived=STEADY)
    assert pause_after(next_worker, clock, lived) < AT_ONCE + 0.02
    # From there on, the pauses grow again.
    pauses = [pause_after(next_worker, clock, lived=1) for _ in range(6)]
    assert pauses[0] < 2 * AT_ONCE + 0.02
    assert pauses[-1] > 3.7


def test_a_worker_that_a_job_has_crashed_is_replaced_soon_however_often(clock):
    next_worker = Restart()
    pauses = [pause_after(next_worker, clock, lived=1, in_a_job=True) for _ in range(9)]
    assert max(pauses) < AFTER_A_CRASH + 0.02
    assert pauses[0] < AT_ONCE + 0.02


@pytest.mark.parametrize("has_changed", [True, False])
def test_broken_code_is_loaded_again_when_a_file_has_changed_or_after_a_while(
    clock, settings, monkeypatch, has_changed
):
    settings.DJANGO_DELAYED = {"RELOAD": True}
    monkeypatch.setattr(restart.SourceWatch, "has_changed", lambda self: has_changed)
    next_worker = Restart()
    next_worker.worker_starts()
    next_worker.wait_for_repair()
    assert next_worker.is_due() is has_changed
    clock.now += RETRY_BROKEN_CODE_AFTER
    assert next_worker.is_due()
    next_worker.worker_starts()
    next_worker.worker_failed(lived=1, in_a_job=False)
    assert not next_worker.is_due()
