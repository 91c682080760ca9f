"""Mail that becomes a job: single messages, a project's mailers, or every mail of the project."""

from .backend import EmailBackend, MailJob
from .delivery import deliver_later, send_mail
from .mailers import Mailer, MailerJob

__all__ = ["EmailBackend", "MailJob", "Mailer", "MailerJob", "deliver_later", "send_mail"]
