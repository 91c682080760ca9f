"""Mail that becomes a job: single messages, the mails of a mailer, or every mail of the project."""

from .backend import EmailBackend
from .delivery import deliver_later, send_mail
from .jobs import MailJob
from .mailers import Mailer, MailerJob

__all__ = ["EmailBackend", "MailJob", "Mailer", "MailerJob", "deliver_later", "send_mail"]
