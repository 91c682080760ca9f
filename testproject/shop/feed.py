"""A supplier's price list: a CSV file of all that it has, taken over into our products."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.db import transaction

from shop.models import Product

COLUMNS = ["sku", "name", "vendor", "category", "description", "price", "stock"]
ROWS_A_STATEMENT = 500


@dataclass
class Import:
    """What an import did."""

    new: list[str] = field(default_factory=list)  # the SKUs
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    rejected: list[str] = field(default_factory=list)  # "line 17: price: …"

    def __str__(self) -> str:
        counts = f"{len(self.new)} new, {len(self.changed)} changed, {self.unchanged} unchanged"
        return "\n".join([f"{counts}, {len(self.rejected)} rejected", *self.rejected])


def import_products(lines: Iterable[str]) -> Import:
    """Create the products that are new, update those that changed, reject the lines that make no sense."""
    result = Import()
    offered = dict(_read(lines, result.rejected))
    with transaction.atomic():
        known = Product.objects.in_bulk(offered, field_name="sku")
        new = [product for sku, product in offered.items() if sku not in known]
        changed = [known[sku] for sku in known if _take_over(offered[sku], known[sku])]
        Product.objects.bulk_create(new, batch_size=ROWS_A_STATEMENT)
        if changed:
            Product.objects.bulk_update(changed, COLUMNS[1:], batch_size=ROWS_A_STATEMENT)
    result.new = [product.sku for product in new]
    result.changed = [product.sku for product in changed]
    result.unchanged = len(known) - len(changed)
    return result


def _read(lines, rejected):
    rows = csv.DictReader(lines)
    for row in rows:
        product = Product(**{column: row[column] for column in COLUMNS})
        try:
            product.clean_fields()  # turns the texts into numbers, too
            yield product.sku, product
        except ValidationError as error:
            reasons = (f"{column}: {' '.join(texts)}" for column, texts in error.message_dict.items())
            rejected.append(f"line {rows.line_num}: {'; '.join(reasons)}")


def _take_over(offer, product):
    """Copy what the offer says; returns whether that is something new."""
    before = [getattr(product, column) for column in COLUMNS]
    for column in COLUMNS:
        setattr(product, column, getattr(offer, column))
    return before != [getattr(product, column) for column in COLUMNS]
