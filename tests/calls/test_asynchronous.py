"""A method under handle_asynchronously looks like a plain one, and keeps the attributes that others set."""

import gc
import inspect

import pytest
from django.contrib.auth.models import User
from django.dispatch import Signal
from django_delayed import SerializationError, delay, handle_asynchronously
from django_delayed.execution.outcomes import Finished
from django_delayed.models import DelayedJob
from django_fsm import TransitionNotAllowed, can_proceed, has_transition_perm
from tests.blog.models import Order, Post
from tests.blog.work import perform_next, work_off

pytestmark = pytest.mark.django_db


@pytest.fixture
def order():
    return Order.objects.create()


def test_the_method_has_the_attributes_that_other_decorators_set(order):
    for method in (order.pay, Order.pay, vars(Order)["pay"]):
        assert method.mark == "saves"
        assert method.__doc__ == "Take the money."
        assert (method.__name__, method.__qualname__) == ("pay", "Order.pay")
        assert method.__module__ == "tests.blog.models"
        assert method._django_fsm.transitions["new"].target == "paid"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        order.pay.nothing  # noqa: B018


def test_inspect_sees_the_method_as_without_the_decorator(order):
    assert inspect.ismethod(order.pay)
    assert not inspect.isfunction(order.pay)
    assert inspect.isfunction(Order.pay)
    assert not inspect.ismethod(Order.pay)
    assert inspect.ismethod(Post.rebuild_later)
    assert inspect.isfunction(Post.ping_later)
    assert "pay" in dict(inspect.getmembers(Order, inspect.isfunction))
    assert (order.pay.__self__, order.pay.__func__.__name__) == (order, "pay")
    assert not hasattr(Order.pay, "__self__")
    assert inspect.unwrap(Order.pay).__code__.co_name == "pay"


def test_the_signature_of_the_method_is_kept(order):
    assert str(inspect.signature(order.pay)) == "(amount=5)"
    assert str(inspect.signature(Order.pay)) == "(self, amount=5)"
    assert str(inspect.signature(Post.rebuild_later)) == "(number=1)"
    assert str(inspect.signature(Post.ping_later)) == "(host)"


def test_an_attribute_with_the_name_of_one_of_ours_changes_nothing(diary):
    def act(self):
        diary.append("act")

    act.options, act.owner, act.undelayed, act.name = {"queue": "theirs"}, int, None, "other"
    thing = type("Thing", (), {"act": handle_asynchronously(queue="ours")(act)})()
    assert vars(type(thing))["act"].options == {"queue": "ours"}
    thing.act.now()
    assert diary == ["act"]


def test_a_signal_holds_the_method_as_a_receiver(post):
    published = Signal()
    for receiver in (post.bare, Post.rebuild_later):
        published.connect(receiver)
        gc.collect()
        with pytest.raises((TypeError, SerializationError), match="'signal'"):
            published.send(sender=None)
        assert published.disconnect(receiver)
    assert not published.has_listeners()


@pytest.mark.parametrize("decorated", [Order.pay, Post.rebuild_later, Post.ping_later], ids=str)
def test_the_method_cannot_be_decorated_a_second_time(decorated):
    with pytest.raises(TypeError, match="handled asynchronously already; decorate it once"):
        handle_asynchronously(decorated)


# The transitions of django-fsm-2


def test_a_transition_is_enqueued_and_made_by_the_worker(order, diary):
    row = order.pay(7)
    assert (row.name, row.queue, order.state) == ("Order.pay", "orders", "new")
    perform_next()
    order.refresh_from_db()
    assert order.state == "paid"
    delay(order.pay, queue="elsewhere")()
    Order.objects.update(state="new")
    work_off()
    assert diary == [("pay", order.pk, 7), ("pay", order.pk, 5)]


def test_the_worker_sees_only_saved_changes_and_saves_none_itself(order):
    order.state = "paid"
    order.ship()
    assert perform_next()[1].error.error_class.endswith("TransitionNotAllowed")
    order.save()
    DelayedJob.objects.all().delete()
    order.ship()
    assert isinstance(perform_next()[1], Finished)
    order.refresh_from_db()
    assert order.state == "paid"


def test_a_transition_is_made_at_once_with_now(order, diary):
    order.pay.now()
    order.ship.now()
    assert order.state == "shipped"
    assert diary == [("pay", order.pk, 5), ("ship", order.pk)]
    assert not DelayedJob.objects.exists()


def test_a_transition_that_is_not_allowed_is_an_error_of_the_job(order):
    order.ship()
    _, outcome = perform_next()
    assert outcome.error.error_class.endswith("TransitionNotAllowed")
    with pytest.raises(TransitionNotAllowed):
        order.ship.now()


def test_the_transitions_of_a_state_are_found(order):
    assert {one.name for one in order.get_all_state_transitions()} == {"pay", "ship", "cancel"}
    assert {one.name for one in order.get_available_state_transitions()} == {"pay", "cancel"}
    order.pay.now()
    assert {one.name for one in order.get_available_state_transitions()} == {"ship", "cancel"}
    staff, guest = User(is_staff=True), User()
    assert {one.name for one in order.get_available_user_state_transitions(staff)} == {"ship", "cancel"}
    assert {one.name for one in order.get_available_user_state_transitions(guest)} == {"cancel"}


def test_can_proceed_and_has_transition_perm_answer_for_the_method(order):
    assert can_proceed(order.pay)
    assert not can_proceed(order.ship)
    order.pay.now()
    assert not can_proceed(order.pay)
    assert can_proceed(order.ship)
    assert has_transition_perm(order.ship, User(is_staff=True))
    assert not has_transition_perm(order.ship, User())
    unlucky = Order(pk=13)
    assert not can_proceed(unlucky.pay)
    assert can_proceed(unlucky.pay, check_conditions=False)


# Method names of other systems


@pytest.mark.parametrize("word", ["delay", "apply_async", "perform_later", "perform_async", "enqueue"])
def test_a_method_name_of_another_system_says_what_to_write(order, word):
    write = r"write \.pay\(…\), or with options \.delay\(…\)\.pay"
    sentence = rf"Order\.pay is enqueued without {word}\(\): {write}"
    for method in (order.pay, Order.pay):
        assert not hasattr(method, word)
        with pytest.raises(AttributeError, match=sentence):
            getattr(method, word)(7)
    assert not DelayedJob.objects.exists()
