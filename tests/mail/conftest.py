import django
import pytest
from aiosmtpd.controller import Controller
from django.core import mail
from django_delayed.execution.outcomes import Finished
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob
from tests.blog.work import perform

from shop.models import Customer

HAS_MAILERS = django.VERSION >= (6, 1)
OURS = "django_delayed.mail.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


class Postbox(Controller):
    """A mail server that keeps what arrives, and can refuse mail."""

    def __init__(self):
        super().__init__(self, hostname="127.0.0.1", port=0, ready_timeout=30, server_hostname="mail.example")
        self.envelopes = []
        self.answers = []
        self.answers_to = {}  # senders and recipients, by their address

    def clear(self):
        self.envelopes.clear()
        self.answers.clear()
        self.answers_to.clear()

    async def handle_MAIL(self, server, session, envelope, address, options):
        envelope.mail_from = address
        return self.answers_to.get(address, "250 OK")

    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = self.answers_to.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_QUIT(self, server, session, envelope):
        return self.answers_to.get("QUIT", "221 Bye")

    async def handle_DATA(self, server, session, envelope):
        if self.answers:
            return self.answers.pop()
        self.envelopes.append(envelope)
        return "250 OK"

    @property
    def mails(self):
        return [envelope.original_content for envelope in self.envelopes]

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]  # the port that the system has chosen
        super()._trigger_server()


@pytest.fixture(scope="module")
def server():
    postbox = Postbox()
    postbox.start()
    yield postbox
    postbox.stop()


@pytest.fixture
def no_outbox(monkeypatch):
    """Let this process send mail as outside of tests, by the backend that the settings name."""
    monkeypatch.delattr(mail, "outbox")


@pytest.fixture
def postbox(server, settings, no_outbox):
    """A mail server, and settings that make each mail a job that sends it there."""
    server.clear()
    send_through(settings, server.port)
    return server


def send_through(settings, port):
    """Make each mail of the project a job that sends it to this port."""
    if HAS_MAILERS:
        smtp = {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": port}}
        settings.MAILERS = {"default": {"BACKEND": OURS, "OPTIONS": {"mailer": "smtp"}}, "smtp": smtp}
    else:
        settings.EMAIL_BACKEND = OURS
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port


@pytest.fixture
def customer(db):
    return Customer.objects.create(name="Ada", email="ada@example.com")


def work_off():
    """Perform all ready jobs. Returns their outcomes."""
    outcomes = []
    while rows := DelayedJob.objects.claim("a worker", 10):
        for row in rows:
            outcomes.append(perform(row))
            assert settle([(row, outcomes[-1])]) == []
    return outcomes


def work_off_well():
    """Perform all ready jobs, which must finish. Returns their number."""
    outcomes = work_off()
    errors = [outcome.error.text for outcome in outcomes if not isinstance(outcome, Finished)]
    assert errors == []
    return len(outcomes)


@pytest.fixture
def work():
    return work_off


@pytest.fixture
def work_well():
    return work_off_well
