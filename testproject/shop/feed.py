"""A supplier's price list: a CSV file of all its goods, imported into our products."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from django.core.exceptions import ValidationError
from django.db import transaction

from shop.models import Product

COLUMNS = ["sku", "name", "vendor", "category", "description", "price", "stock"]
ROWS_A_STATEMENT = 500
MOST_REASONS = 100  # in a report

Row = tuple[int, dict[str, str]]  # the number of its line, and its columns


@dataclass
class Import:
    """What the import of some rows did."""

    new: list[str] = field(default_factory=list)  # the SKUs
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    rejected: list[str] = field(default_factory=list)  # "line 17: price: …"


@dataclass
class Report:
    """What the imports of one feed did, in numbers, and why lines of it were rejected."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, result: Import) -> None:
        self.new += len(result.new)
        self.changed += len(result.changed)
        self.unchanged += result.unchanged
        self.rejected += len(result.rejected)
        self.reasons = [*self.reasons, *result.rejected][:MOST_REASONS]

    def __str__(self) -> str:
        counts = f"{self.new} new, {self.changed} changed, {self.unchanged} unchanged"
        return "\n".join([f"{counts}, {self.rejected} rejected", *self.reasons])


def rows_of(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a feed."""
    rows = csv.DictReader(lines)
    for row in rows:
        yield rows.line_num, row


def batches_of(lines: Iterable[str], after: int, size: int) -> Iterator[list[Row]]:
    """The rows behind this line, in lists of `size` rows."""
    rows = (row for row in rows_of(lines) if row[0] > after)
    while batch := list(islice(rows, size)):
        yield batch


def import_products(rows: Iterable[Row]) -> Import:
    """Create the products that are new, update those that changed, reject invalid lines."""
    result = Import()
    offered = dict(_read(rows, result.rejected))
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


def _read(rows, rejected):
    for line, row in rows:
        product = Product(**{column: row[column] for column in COLUMNS})
        try:
            product.clean_fields()  # turns the texts into numbers, too
            yield product.sku, product
        except ValidationError as error:
            reasons = (f"{column}: {' '.join(texts)}" for column, texts in error.message_dict.items())
            rejected.append(f"line {line}: {'; '.join(reasons)}")


def _take_over(offer, product):
    """Copy what the offer says; returns whether that changes anything."""
    before = [getattr(product, column) for column in COLUMNS]
    for column in COLUMNS:
        setattr(product, column, getattr(offer, column))
    return before != [getattr(product, column) for column in COLUMNS]
