import logging
import os
import sys

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from shop import demo, sample

ADMIN = "admin"  # name and password; the demo is not for the internet


class Command(BaseCommand):
    help = "Load the sample shop, enqueue every kind of work it has, work it off, and show the results."

    def handle(self, *args, **options):
        call_command("shop_load", stdout=self.stdout)
        self._create_administrator()
        with demo.world() as servers, demo.tally() as (finished, errors):
            demo.enqueue_all_kinds(servers)
            self._work_off(log=options["verbosity"] > 1)
            for line in demo.report(servers, finished, errors):
                self.stdout.write(line)
        manage = f"{os.path.relpath(sys.executable)} {sys.argv[0]}"
        self.stdout.write(HOW_TO_GO_ON.format(manage=manage, admin=ADMIN, token=sample.GOOD_TOKEN))

    def _create_administrator(self):
        users = get_user_model().objects
        if not users.filter(username=ADMIN).exists():
            users.create_superuser(ADMIN, password=ADMIN)

    def _work_off(self, log):
        logging.disable(logging.NOTSET if log else logging.CRITICAL)
        try:
            call_command("jobs_workoff", stdout=self.stdout)
        finally:
            logging.disable(logging.NOTSET)


HOW_TO_GO_ON = """
Look at it:  {manage} runserver
             http://127.0.0.1:8000/admin/  (user {admin}, password {admin})
Mend it:     {manage} shop_servers, and beside it
             {manage} jobs_work;
             give the social account "Summer shop" the access token {token}, and retry the job that failed"""
