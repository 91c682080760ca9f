from django_tenants.models import DomainMixin, TenantMixin


class Customer(TenantMixin):
    pass


class Domain(DomainMixin):
    pass
