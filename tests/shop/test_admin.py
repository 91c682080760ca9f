import re

import pytest
from django.contrib import admin
from django.urls import reverse
from django_delayed.testing import work_off

from shop.models import Product, Supplier
from shop.sample import feed_csv

MODELS = [model for model in admin.site._registry if model._meta.app_label == "shop"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_pages_of_the_shop_open(model, shop, admin_client):
    name = f"admin:shop_{model._meta.model_name}"
    assert admin_client.get(reverse(f"{name}_changelist")).status_code == 200
    for instance in model.objects.all()[:1]:
        assert admin_client.get(reverse(f"{name}_change", args=[instance.pk])).status_code == 200


def test_an_import_can_be_watched(shop, servers, admin_client, client):
    Supplier.objects.update(url=servers.web.url)
    servers.web.files["/feed.csv"] = feed_csv()
    chosen = {"action": "import_feed", "_selected_action": [Supplier.objects.get().pk]}
    response = admin_client.post(reverse("admin:shop_supplier_changelist"), chosen, follow=True)
    [path] = re.findall(r'<a href="(/jobs/progress/[^"]*)">See how far it is</a>', response.text)
    assert "It waits for its turn." in client.get(path).text
    work_off()
    shown = client.get(path, headers={"accept": "application/json"}).json()
    assert shown["words"] == "It is done."
    assert (shown["amount"], shown["note"]) == ("3,001 of 3,001", "Lines of the feed")
    assert Product.objects.count() == 2997
