import pytest
from django.contrib import admin
from django.urls import reverse

MODELS = [model for model in admin.site._registry if model._meta.app_label == "shop"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_pages_of_the_shop_open(model, shop, admin_client):
    name = f"admin:shop_{model._meta.model_name}"
    assert admin_client.get(reverse(f"{name}_changelist")).status_code == 200
    for instance in model.objects.all()[:1]:
        assert admin_client.get(reverse(f"{name}_change", args=[instance.pk])).status_code == 200
