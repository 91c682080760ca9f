import csv
from decimal import Decimal

import pytest

from shop.feed import COLUMNS, Report, import_products, rows_of
from shop.models import Product
from shop.sample import MISTAKEN, feed_csv

pytestmark = pytest.mark.django_db


def feed(*rows):
    return [",".join(COLUMNS), *rows]


def test_the_products_of_the_feed_are_imported_exactly():
    lines = feed_csv().decode().splitlines()
    result = import_products(rows_of(lines))
    good = [row for row in csv.DictReader(lines) if row["sku"] not in MISTAKEN]
    imported = Product.objects.values_list(*COLUMNS)
    assert [tuple(map(str, values)) for values in imported] == [tuple(row.values()) for row in good]
    assert len(result.new) == len(good) == 2997
    assert [reason.split(": ")[:2] for reason in result.rejected] == [
        ["line 102", "price"],
        ["line 1002", "stock"],
        ["line 2002", "name"],
    ]


def test_a_second_import_writes_only_what_changed(django_assert_max_num_queries):
    lines = feed_csv().decode().splitlines()
    import_products(rows_of(lines))
    lines[1] = lines[1].replace("Made of", "Built from")
    Product.objects.filter(sku="SB-00002").update(price=Decimal("0.01"))
    with django_assert_max_num_queries(20):
        result = import_products(rows_of(lines))
    assert (len(result.new), result.changed, result.unchanged) == (0, ["SB-00001", "SB-00002"], 2995)


def test_the_last_line_about_a_product_counts():
    import_products(rows_of(feed("B1,Board,Forge,Snowboard,,10.00,1", "B1,Board,Forge,Snowboard,,12.00,1")))
    assert Product.objects.get().price == 12


def test_a_feed_without_a_column_is_refused():
    with pytest.raises(KeyError, match="vendor"):
        import_products(rows_of(["sku,name", "B1,Board"]))
    assert not Product.objects.exists()


def test_the_report_names_each_line_that_was_rejected():
    lines = feed("B1,Board,Forge,Snowboard,,10.00,1", "B2,Boot,Forge,Boot,,free,1")
    report = Report()
    report.add(import_products(rows_of(lines)))
    report.add(import_products(rows_of(lines)))
    counts, reason, _ = str(report).splitlines()
    assert counts == "1 new, 0 changed, 1 unchanged, 2 rejected"
    assert reason.startswith("line 3: price: ")
