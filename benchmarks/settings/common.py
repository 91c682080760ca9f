"""What the settings of all contenders have in common: the database, and how it is talked to."""

from settings import DATABASES

SECRET_KEY = "of the benchmarks"
USE_TZ = True
DEBUG = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]

for database in DATABASES.values():
    # Connections stay open: to open one for each job costs several times what a job does.
    # https://docs.djangoproject.com/en/stable/ref/databases/#persistent-connections
    database["CONN_MAX_AGE"] = None
    # The database is made as Django makes that of tests; workers find it under the same name.
    database["TEST"] = {**database.get("TEST", {}), "NAME": database["NAME"]}
