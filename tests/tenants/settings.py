"""A project with django-tenants; the database comes from the environment, as in the demo."""

from settings import BASE_DIR, DATABASES, SECRET_KEY, USE_TZ

__all__ = ["BASE_DIR", "DATABASES", "SECRET_KEY", "USE_TZ"]

DATABASES["default"]["ENGINE"] = "django_tenants.postgresql_backend"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = [
    "django_tenants",
    "django.contrib.contenttypes",
    "rangefilter",
    "django_delayed",
    "tests.tenants.customers",
]
TENANT_APPS = ["django.contrib.contenttypes", "tests.tenants.notes"]
INSTALLED_APPS = [*SHARED_APPS, "tests.tenants.notes"]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Domain"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DJANGO_DELAYED = {"CONTEXT": {"tenant": "tests.tenants.context.Tenant"}}
