from threading import Event

from django.conf import settings
from django.core.management.base import BaseCommand

from shop import demo


class Command(BaseCommand):
    help = "Run the servers that the shop talks to, until Ctrl-C."

    def handle(self, *args, **options):
        with demo.world(settings.SMTP["port"]) as servers:
            self.stdout.write(f"Supplier and social network at {servers.web.url}")
            self.stdout.write(f"Mail at {servers.mail.hostname}:{servers.mail.port}")
            try:
                Event().wait()
            except KeyboardInterrupt:
                self.stdout.write(
                    f"{len(servers.mail.mails)} mails and {len(servers.web.tweets)} tweets arrived."
                )
