import json
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.template import Context, Template
from django.utils import timezone, translation
from django_delayed import SerializationError
from django_delayed.execution.outcomes import Failed, Rescheduled
from django_delayed.mail import Mailer, deliver_later
from django_delayed.models import DelayedJob
from tests.mail.letters import letter

from shop.models import Customer, Post

pytestmark = pytest.mark.django_db

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@pytest.fixture
def trusted(settings):
    """Let jobs name the code of this module."""
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": [__name__], "UNKNOWN_GRACE": 0}


class ShopMailer(Mailer):
    sender = "shop@example.com"

    def registration(self, customer, *, coupon=None):
        template = Template("{{ customer }}, {{ now|date:'F H:i' }}, {{ coupon }}")
        now = datetime(2026, 1, 15, 12, tzinfo=ZoneInfo("UTC"))
        body = template.render(Context({"customer": customer, "now": now, "coupon": coupon}))
        return EmailMessage("Hello", body, self.sender, [customer.email])

    def nothing(self):
        return None

    def wrong(self):
        return "Hello"

    def sent_elsewhere(self):
        return letter(bcc=["b@c.example"], attachments=[("a.png", PNG, "image/png")])

    def _private(self):
        return letter()

    @staticmethod
    def static():
        return letter()

    async def later(self):
        return letter()


class BusinessMailer(ShopMailer):
    sender = "business@example.com"


def test_a_mail_of_a_mailer_is_rendered_and_sent_by_the_worker(postbox, trusted, customer, work_well):
    row = ShopMailer.delay(queue="mail", priority=-1).registration(customer, coupon="X7")
    assert (row.name, row.about) == ("ShopMailer.registration", f"shop.customer:{customer.pk}")
    assert (row.queue, row.priority) == ("mail", -1)
    Customer.objects.update(name="Ada Lovelace")
    work_well()
    [envelope] = postbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("shop@example.com", ["ada@example.com"])
    assert b"Ada Lovelace, January 13:00, X7" in envelope.original_content


def test_a_mailer_renders_in_the_language_and_time_zone_of_the_enqueue(postbox, trusted, customer, work_well):
    with translation.override("de"), timezone.override(ZoneInfo("Asia/Tokyo")):
        ShopMailer.delay().registration(customer)
    work_well()
    assert b"Ada, Januar 21:00, None" in postbox.mails[0]


def test_a_mailer_that_is_called_directly_returns_the_message(customer):
    message = ShopMailer().registration(customer)
    message.send()
    assert mail.outbox[0].to == ["ada@example.com"]


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda customer: ShopMailer.delay().registration(customer),
        lambda customer: ShopMailer.delay(queue="mail").registration(customer),
        lambda customer: deliver_later(letter()),
    ],
    ids=["mailer", "mailer with options", "deliver_later"],
)
def test_a_mail_that_is_enqueued_has_no_send_and_says_so(trusted, customer, enqueue):
    row = enqueue(customer)
    assert not hasattr(row, "send")
    with pytest.raises(AttributeError, match=r"the worker sends it: leave \.send\(\) out"):
        row.send()


def test_an_inherited_mail_is_rendered_by_the_class_that_was_called(postbox, trusted, customer, work_well):
    row = BusinessMailer.delay().registration(customer)
    assert row.name == "BusinessMailer.registration"
    work_well()
    assert postbox.envelopes[0].mail_from == "business@example.com"


def test_a_mail_of_a_mailer_may_have_bcc_and_attachments(postbox, trusted, work_well):
    ShopMailer.delay().sent_elsewhere()
    work_well()
    assert postbox.envelopes[0].rcpt_tos == ["a@b.example", "b@c.example"]


def test_a_mailer_that_returns_none_sends_nothing_and_its_job_finishes(postbox, trusted, work_well):
    ShopMailer.delay().nothing()
    assert work_well() == 1
    assert postbox.mails == []


def test_a_mailer_that_returns_no_message_is_an_error_of_the_job(postbox, trusted, work):
    ShopMailer.delay().wrong()
    [outcome] = work()
    assert "ShopMailer.wrong() must return a message of django.core.mail, not 'Hello'" in outcome.error.text


def test_a_mail_about_a_deleted_record_fails_at_once(trusted, customer, work):
    ShopMailer.delay().registration(customer)
    Customer.objects.all().delete()
    [outcome] = work()
    assert isinstance(outcome, Failed)
    assert outcome.error.error_class.endswith("RecordNotFound")


@pytest.mark.parametrize(
    ("ask", "error", "sentence"),
    [
        (lambda: ShopMailer.delay()._private(), AttributeError, "private"),
        (lambda: ShopMailer.delay().goodbye(), AttributeError, "ShopMailer has no method 'goodbye'"),
        (lambda: ShopMailer.delay().delay(), AttributeError, "delay is a method of every mailer"),
        (lambda: ShopMailer.delay().sender(), TypeError, "sender is not a method"),
        (lambda: ShopMailer.delay().static(), TypeError, "static is not a plain method"),
        (lambda: ShopMailer.delay().later(), TypeError, "async"),
        (lambda: ShopMailer.delay()(), TypeError, "Name the method"),
        (lambda: ShopMailer.delay(prio=1), TypeError, "Unknown option 'prio'"),
        (lambda: ShopMailer.delay().registration(), TypeError, r"ShopMailer\.registration\(\): missing"),
        (lambda: ShopMailer.delay().registration(1, cupon=2), TypeError, r"ShopMailer\.registration\(\): "),
        (lambda: ShopMailer.delay().registration(Customer()), SerializationError, "not saved"),
        (lambda: ShopMailer.delay().registration(object()), SerializationError, "cannot be serialized"),
    ],
)
def test_an_invalid_call_of_a_mailer_is_an_error_at_the_call(ask, error, sentence, trusted):
    with pytest.raises(error, match=sentence):
        ask()
    assert DelayedJob.objects.count() == 0


def test_a_mailer_that_a_worker_could_not_find_is_refused():
    class Local(Mailer):
        def hello(self):
            return letter()

    with pytest.raises(SerializationError, match="inside a function"):
        Local.delay().hello()


def test_a_mailer_that_cannot_be_made_without_arguments_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match=r"Needy: a worker makes it without arguments: missing .* 'what'"):
        type("Needy", (Mailer,), {"__init__": lambda self, what: None, "__qualname__": "Needy"})


@pytest.mark.parametrize(
    "change",
    [
        {"mailer": "shop.models.blog:Post"},
        {"mailer": "os:system"},
        {"method": "_private"},
        {"method": "delay"},
        {"method": "static"},
        {"method": None},
        {"args": [], "kwargs": {"nothing": 1, "self": 2}},
    ],
)
def test_an_invalid_payload_of_a_mailer_fails_or_reschedules_the_job(change, trusted, customer, work):
    row = ShopMailer.delay().registration(customer)
    DelayedJob.objects.update(payload=json.dumps(json.loads(row.payload) | change))
    [outcome] = work()
    assert isinstance(outcome, (Failed, Rescheduled))
    assert mail.outbox == []
    assert Post.objects.count() == 0
