"""The mail that most tests send."""

from django.core.mail import EmailMultiAlternatives


def letter(**given):
    given = {
        "subject": "Hello",
        "body": "Dear Ada,\n",
        "from_email": "shop@example.com",
        "to": ["a@b.example"],
    } | given
    return EmailMultiAlternatives(**given)
