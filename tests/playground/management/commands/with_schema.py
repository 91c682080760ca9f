"""Run another command in a schema, as packages for tenants do: with_schema --schema=x jobs_work …"""

from argparse import ArgumentParser

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from tests.playground import jobs


class Command(BaseCommand):
    def run_from_argv(self, argv):
        parser = ArgumentParser(allow_abbrev=False)
        parser.add_argument("--schema", required=True)
        options, rest = parser.parse_known_args(argv[2:])
        jobs.schema = options.schema
        load_command_class(get_commands()[rest[0]], rest[0]).run_from_argv([argv[0], *rest])
