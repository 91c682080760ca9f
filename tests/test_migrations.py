from importlib import import_module

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext
from django_delayed.fields import StorageParameters


def test_the_migrations_match_the_models(db):
    call_command("makemigrations", check=True, dry_run=True)


def test_the_models_pass_the_checks_of_this_database(db):
    assert run_checks(databases=["default"]) == []


def test_migrate_prints_no_warning(manage):
    output, _ = manage("migrate", "--no-color").communicate(timeout=60)
    assert "No migrations to apply." in output
    assert "warning" not in output.lower()


def storage_parameters():
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE oid = 'django_delayed_delayedjob'::regclass")
        return dict(option.split("=") for option in cursor.fetchone()[0] or ())


@pytest.fixture
def alter(transactional_db):
    """Run the operation of the migration, forwards or backwards."""
    migration = import_module("django_delayed.migrations.0001_initial").Migration
    [operation] = [one for one in migration.operations if isinstance(one, StorageParameters)]
    state = MigrationExecutor(connection).loader.project_state()

    def alter(direction):
        with connection.schema_editor() as editor:
            getattr(operation, f"database_{direction}")("django_delayed", editor, state, state)

    yield alter
    alter("forwards")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only for PostgreSQL")
def test_the_table_of_jobs_is_vacuumed_soon_and_has_room_for_claims_and_a_migration_back_undoes_that(alter):
    given = {
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "1000",
        "autovacuum_analyze_scale_factor": "0.02",
        "autovacuum_analyze_threshold": "1000",
        "autovacuum_vacuum_cost_delay": "0",
    }
    assert storage_parameters() == given
    alter("backwards")
    assert storage_parameters() == {}
    alter("forwards")
    assert storage_parameters() == given


@pytest.mark.skipif(connection.vendor == "postgresql", reason="has storage parameters")
def test_elsewhere_the_table_has_no_storage_parameters_and_needs_no_statement(alter):
    with CaptureQueriesContext(connection) as captured:
        alter("forwards")
        alter("backwards")
    assert [query["sql"] for query in captured if "ALTER" in query["sql"]] == []


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only for PostgreSQL")
def test_storage_parameters_are_set_where_the_table_is(alter, settings):
    class Elsewhere:
        def allow_migrate(self, db, app_label, **hints):
            return False

    alter("backwards")
    settings.DATABASE_ROUTERS = [Elsewhere()]
    alter("forwards")
    assert storage_parameters() == {}
    settings.DATABASE_ROUTERS = []
