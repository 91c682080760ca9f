"""What the settings of all contenders have in common: the database, and how they connect to it."""

from settings import DATABASES

SECRET_KEY = "of the benchmarks"
USE_TZ = True
DEBUG = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]

for database in DATABASES.values():
    # Connections stay open: a new one for each job costs several times as much as the job.
    # https://docs.djangoproject.com/en/stable/ref/databases/#persistent-connections
    database["CONN_MAX_AGE"] = None
    # Django makes the database as it makes one for tests; workers find it under the same name.
    database["TEST"] = {**database.get("TEST", {}), "NAME": database["NAME"]}
