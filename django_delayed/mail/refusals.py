"""Refusals of a mail server: for now or for good, of every recipient or of some of them."""

from __future__ import annotations

import logging
import smtplib
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from django.core.mail.backends.base import BaseEmailBackend

from ..exceptions import MailRefused
from ..serialization.errors import printable

logger = logging.getLogger("django_delayed")

Answers = dict[str, tuple[int, bytes]]  # of a server to its recipients

ACCEPTED = {250, 251}
FOR_GOOD = range(500, 600)
# The server wants a login, or another one: the settings are wrong, and not the mail.
LOGIN = {530, 534, 535, 538}


def send(backend: BaseEmailBackend, message: EmailMessage) -> None:
    """Send the message through the backend. Raises MailRefused if it was refused for good for everybody.

    Other errors come from the backend; no recipient was accepted then. If only some recipients were refused,
    the log names them and nothing is raised: another attempt would send to the others again.
    """
    answers: Answers = {}
    try:
        if isinstance(backend, smtp.EmailBackend):
            _send_by_smtp(backend, message, answers)
        else:
            backend.send_messages([message])
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        refused = _refused(answers) | getattr(error, "recipients", {})
        if _is_for_good(error, refused):
            why = f"{error} {refused}" if hasattr(error, "smtp_code") and refused else error
            raise MailRefused(f"The mail server refused the mail for good: {why}") from error
        raise
    if refused := _refused(answers):
        logger.warning(
            "A mail was sent, but the server refused %d of its %d recipients, who will not get it: %s",
            len(refused),
            len(answers),
            printable(str(refused)),
        )


def _send_by_smtp(backend: Any, message: EmailMessage, answers: Answers) -> None:
    try:
        # Django's backend uses a connection that is open, and leaves it open.
        backend.open()
        _record(backend.connection, answers)
        backend.send_messages([message])
    finally:
        try:
            backend.close()
        except OSError:
            # Not raised: another attempt would send a mail again that the server has accepted.
            logger.warning("The connection to the mail server could not be closed", exc_info=True)


def _record(connection: Any, answers: Answers) -> None:
    """Record what the server answers for each recipient: Django drops what smtplib returns about them."""
    if not isinstance(connection, smtplib.SMTP):
        return
    ask = connection.rcpt

    def rcpt(recipient: str, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        answers[recipient] = answer = ask(recipient, *args, **kwargs)
        return answer

    connection.rcpt = rcpt  # type: ignore[assignment, method-assign]


def _refused(answers: Answers) -> Answers:
    return {who: answer for who, answer in answers.items() if answer[0] not in ACCEPTED}


def _is_for_good(error: smtplib.SMTPException, refused: Answers) -> bool:
    """Whether another attempt would end the same way for each recipient."""
    codes = {code for code, _ in refused.values()}
    if isinstance(error, smtplib.SMTPResponseException):
        # The sender or the content was refused; a recipient that was refused for now may accept it later.
        codes.add(error.smtp_code)
    return bool(codes) and all(code in FOR_GOOD and code not in LOGIN for code in codes)
