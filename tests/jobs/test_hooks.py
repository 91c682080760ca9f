"""Several hooks of a kind, by decorators; DontPerform."""

from unittest.mock import Mock

import pytest
from django.db import transaction
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django_delayed import DontPerform, Job, SerializationError, enqueue, enqueue_all
from django_delayed.execution.outcomes import Finished, Rescheduled
from django_delayed.jobs import hooks
from django_delayed.models import DelayedJob
from tests.blog.jobs import Audited, AuditedTwice, Discarded, Hooked
from tests.blog.work import perform_next

PERFORMED = [
    *("before_perform", "open", "tick", "later"),
    *("around begins", "measure begins", "rescue begins", "perform", "measure ends", "around ends"),
    *("close better", "tick"),
]
ENQUEUED = ["ask", "around_enqueue", "watch begins", ("watch ends", True), "after_enqueue", "count"]


def test_hooks_of_a_kind_run_in_the_order_of_classes_and_lines(diary):
    assert AuditedTwice.perform_now(1) == (1,)
    assert diary == PERFORMED


def test_a_parent_does_not_get_the_hooks_of_its_child(diary):
    assert Audited.perform_now() == ()
    assert diary == ["before_perform", "open", "measure begins", "perform", "measure ends", "close"]


def test_a_worker_runs_them_all(db, diary):
    AuditedTwice.perform_later(1)
    assert diary == ENQUEUED
    diary.clear()
    assert isinstance(perform_next()[1], Finished)
    assert diary == PERFORMED


def test_an_error_passes_through_all_hooks_around_it(diary):
    with pytest.raises(ArithmeticError):
        Audited.perform_now("fail")
    assert diary == ["before_perform", "open", "measure begins", "perform"]


def test_outer_hooks_do_not_see_an_error_that_an_inner_hook_handles(diary):
    assert AuditedTwice.perform_now("fail") is None
    assert diary[-4:] == ["perform", "rescued", "measure ends", "around ends"]


def test_a_hook_around_that_does_not_yield_leaves_the_job_unperformed(diary):
    assert AuditedTwice.perform_now("not now") is None
    assert diary == ["before_perform", "open", "tick", "later"]


@pytest.mark.parametrize("job_class", [Audited, AuditedTwice])
def test_a_job_that_is_not_to_be_performed_is_finished(db, diary, job_class):
    job_class.perform_later("nothing to do")
    diary.clear()
    assert isinstance(perform_next()[1], Finished)
    assert diary == ["before_perform", "open"]
    assert not DelayedJob.objects.exists()


def test_a_single_hook_may_raise_dont_perform_too(monkeypatch, diary):
    def refuse(self):
        raise DontPerform

    monkeypatch.setattr(Hooked, "before_perform", refuse)
    assert Hooked.perform_now() is None
    assert diary == []


@pytest.mark.parametrize("job", [Audited("veto"), AuditedTwice("not now")])
def test_each_hook_before_an_enqueue_has_a_veto(db, diary, job):
    assert enqueue(job) is None
    assert enqueue_all([job, Audited(), job])[1] is not None
    assert DelayedJob.objects.count() == 1


def test_a_hook_around_an_enqueue_sees_its_error(db, diary):
    with pytest.raises(SerializationError):
        Audited.perform_later(object())
    assert diary == ["ask", "watch begins", ("watch", "SerializationError")]


def test_a_hook_around_an_enqueue_sees_the_error_of_another_job(db, diary):
    with pytest.raises(SerializationError):
        enqueue_all([Audited(1), Audited("veto"), Audited(object())])
    assert diary.count(("watch", "SerializationError")) == 2
    assert not DelayedJob.objects.exists()


def test_a_hook_around_an_enqueue_sees_the_error_of_one_inside_it(db, diary, monkeypatch):
    def refuse(self):
        raise LookupError
        yield

    inside = type("Inside", (Audited,), {"refuse": hooks.around_enqueue(refuse)})
    with pytest.raises(LookupError):
        enqueue(inside())
    assert diary == ["ask", "watch begins", ("watch", "LookupError")]


def test_hooks_around_the_enqueue_of_many_jobs_put_back_what_they_found(db, diary, monkeypatch):
    def watch(self):
        with translation.override("fr"):
            yield

    monkeypatch.setattr(Audited, "watch", watch)
    with translation.override("de"):
        enqueue_all([Audited(1), Audited(2)])
        assert translation.get_language() == "de"
        with pytest.raises(SerializationError):
            enqueue_all([Audited(1), Audited(2), Audited(object())])
        assert translation.get_language() == "de"


@pytest.mark.django_db(transaction=True)
def test_hooks_around_an_enqueue_end_when_the_row_is_there(settings, diary):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with transaction.atomic():
        Audited.perform_later(1)
        assert diary == ["ask", "watch begins"]
    assert diary == ["ask", "watch begins", ("watch ends", True), "count"]


def test_a_job_that_is_enqueued_twice_has_its_hooks_twice(db, diary):
    job = Audited()
    enqueue_all([job])
    enqueue(job)
    assert diary == ["ask", "watch begins", ("watch ends", True), "count"] * 2


def test_a_job_performed_at_once_is_discarded_as_a_worker_would(diary):
    assert Discarded.perform_now("lookup") is None
    assert diary[-1][0] == "after_discard"


def generator(self):
    yield


def test_a_hook_around_yields_once(diary):
    def yield_twice(self):
        yield
        yield

    twice = type("Twice", (Audited,), {"again": hooks.around_perform(yield_twice)})
    with pytest.raises(RuntimeError, match=r"Twice\.again must yield once"):
        twice.perform_now()


async def coroutine(self):
    pass


@pytest.mark.parametrize(
    ("hook", "sentence"),
    [
        (hooks.before_perform(lambda self, x: None), r"MyJob\.hook\(\) is called as hook\(self\)"),
        (hooks.after_perform(coroutine), r"MyJob\.hook\(\) is async"),
        (hooks.around_perform(lambda self: None), r"MyJob\.hook\(\) must be a generator with one yield"),
        (hooks.before_enqueue(generator), r"MyJob\.hook\(\) is a generator"),
    ],
)
def test_a_hook_that_cannot_be_called_is_an_error_at_the_definition(hook, sentence):
    with pytest.raises(TypeError, match=sentence):
        type("MyJob", (Job,), {"perform": lambda self: None, "hook": hook})


def test_a_hook_that_a_child_takes_away_is_an_error_at_its_definition():
    with pytest.raises(TypeError, match=r"MyJob\.open\(\) must be a method, not None"):
        type("MyJob", (Audited,), {"open": None})


def test_a_method_that_has_the_name_of_its_decorator_runs_once(diary):
    twice = hooks.before_perform(lambda self: diary.append("before"))
    type("Twice", (Job,), {"perform": lambda self: None, "before_perform": twice}).perform_now()
    assert diary == ["before"]


def test_no_other_attribute_of_a_class_is_taken_for_a_hook_or_evaluated():
    woken = []
    lazy = SimpleLazyObject(lambda: woken.append("lazy"))
    job_class = type("MyJob", (Audited,), {"client": Mock(), "lazy": lazy})
    assert job_class.perform_now(1) == (1,)
    assert woken == []


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_a_decorator_may_stand_above_or_below_classmethod_and_staticmethod(diary, kind):
    above = hooks.before_perform(kind(lambda *cls: diary.append("above")))
    below = kind(hooks.before_perform(lambda *cls: diary.append("below")))
    type("MyJob", (Job,), {"perform": lambda self: None, "above": above, "below": below}).perform_now()
    assert diary == ["above", "below"]


def test_a_decorator_takes_only_methods():
    with pytest.raises(TypeError, match=r"@before_perform decorates a method of a Job, not 'log'"):
        hooks.before_perform("log")
    assert hooks.before_perform(classmethod(lambda cls: None))


def test_there_is_a_decorator_for_each_kind():
    assert {name for name in hooks.KINDS if getattr(hooks, name)(lambda self: None)} == hooks.KINDS


def test_a_worker_reschedules_a_job_after_an_error_in_one_of_many_hooks(db, diary, monkeypatch):
    monkeypatch.setattr(Audited, "close", lambda self: 1 / 0)
    Audited.perform_later()
    assert isinstance(perform_next()[1], Rescheduled)
