from django.core.checks import run_checks
from django.core.management import call_command


def test_the_migrations_say_all_that_the_models_say(db):
    call_command("makemigrations", check=True, dry_run=True)


def test_the_models_are_to_the_liking_of_this_database(db):
    assert run_checks(databases=["default"]) == []


def test_migrate_prints_no_warning(manage):
    output, _ = manage("migrate", "--no-color").communicate(timeout=60)
    assert "No migrations to apply." in output
    assert "warning" not in output.lower()
