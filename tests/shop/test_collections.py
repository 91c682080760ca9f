import pytest

from shop.models import Product, SmartCollection

pytestmark = pytest.mark.django_db


def a_collection(*rules, any_rule=False):
    collection = SmartCollection.objects.create(title="Picks", any_rule=any_rule)
    for field, relation, value in rules:
        collection.rules.create(field=field, relation=relation, value=value)
    return collection


def titles(collection):
    return [product.name for product in collection.products.all()]


@pytest.fixture(autouse=True)
def products():
    for sku, name, price, stock in [("1", "Wax", 9, 0), ("2", "Gloves", 30, 5), ("3", "Board", 400, 2)]:
        Product.objects.create(sku=sku, name=name, price=price, stock=stock, vendor="The Forge")


def test_all_rules_must_match():
    collection = a_collection(("price", "lt", "50"), ("stock", "gt", "0"))
    assert collection.refresh() == 1
    assert titles(collection) == ["Gloves"]


def test_one_rule_is_enough_with_any_rule():
    collection = a_collection(("price", "lt", "10"), ("name", "exact", "Board"), any_rule=True)
    collection.refresh()
    assert titles(collection) == ["Wax", "Board"]


def test_a_product_that_no_longer_matches_is_removed():
    collection = a_collection(("vendor", "icontains", "forge"), ("price", "lt", "50"))
    assert collection.refresh() == 2
    Product.objects.filter(name="Wax").update(price=60)
    assert collection.refresh() == 1
    assert titles(collection) == ["Gloves"]


def test_a_collection_without_rules_is_empty():
    assert a_collection().refresh() == 0
