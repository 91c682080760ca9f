"""The sample shop: the same customers, products, posts and comments each time it is loaded."""

import csv
from functools import cache
from io import StringIO
from itertools import islice
from itertools import product as combinations
from random import Random

from django.core.files.base import ContentFile
from django.db import transaction
from django.utils.text import slugify

from shop.feed import COLUMNS
from shop.models import (
    CollectionRule,
    Comment,
    Customer,
    Download,
    Order,
    OrderLine,
    Post,
    Product,
    SmartCollection,
    SocialAccount,
    Supplier,
)
from shop.pictures import draw, encoded

GOOD_TOKEN = "token-of-this-winter"
EXPIRED_TOKEN = "token-of-last-summer"

CUSTOMERS = 600
PRODUCTS = 12
FEED_ROWS = 3000
MISTAKEN = {"SB-00101": ("price", "n/a"), "SB-01001": ("stock", "-3"), "SB-02001": ("name", "")}
CATALOGUES = 4

VENDORS = ["Fjällvind", "Alpenglow Works", "Tundra & Sons", "Blå Is", 'The "Old" Forge', "Crème de la Neige"]
CATEGORIES = ["Snowboard", "Binding", "Boot", "Jacket", "Helmet", "Goggles", "Gloves", "Wax"]
STYLES = ["Powder", "Freestyle", "Touring", "Racing", "Splitboard", "Beginner", "Night", "Glacier", "Éclair"]
MATERIALS = ["birch", "bamboo", "carbon", "merino", "steel", "recycled nylon", "cork", "ash"]

FIRST_NAMES = ["Ada", "Bo", "Chloé", "Dag", "Edda", "Finn", "Gro", "Håkon", "Ida", "Jón", "Kaja", "Lou"]
LAST_NAMES = ["Aas", "Berg", "Côté", "Dahl", "Ek", "Fjord", "Grün", "Holm", "Isbre", "Jøkul"]

PRAISE = ["Great ride", "Lovely board", "Warm jacket", "Thanks for the tips", "My boots fit well"]
DETAILS = ["in deep powder", "on the glacier", "after two winters", "for my daughter", "with old wax"]
ENDINGS = ["see you on the slope.", "is it in stock again?", "the bindings hold well.", "more photos please."]
BAIT = ["Cheap replica watches", "WIN A FREE PHONE", "Instant casino bonus", "Lose weight with one pill"]
LURES = ["best price guaranteed", "click now", "limited offer", "no credit check", "earn money from home"]
LINKS = ["http://deals.example/1 http://deals.example/2", "https://win.example/now", "http://pills.example/7"]


def ham(random):
    return f"{random.choice(PRAISE)} {random.choice(DETAILS)}, {random.choice(ENDINGS)}"


def spam(random):
    return f"{random.choice(BAIT)}, {random.choice(LURES)}! {random.choice(LINKS)}"


def product_rows():
    """All that the supplier could offer, as the rows of its feed: every kind of thing in every style."""
    random = Random(1)
    kinds = list(combinations(VENDORS, STYLES, CATEGORIES, MATERIALS))
    random.shuffle(kinds)
    for number, (vendor, style, category, material) in enumerate(kinds, 1):
        yield {
            "sku": f"SB-{number:05}",
            "name": f"{style} {category}",
            "vendor": vendor,
            "category": category,
            "description": f'Made of {material}, for {style.lower()} days; says its maker, "{vendor}".',
            "price": f"{random.randrange(900, 90000) / 100:.2f}",
            "stock": str(random.randrange(60)),
        }


@cache
def feed_csv():
    """The supplier's feed: FEED_ROWS products, a few of them with a mistake in their line."""
    text = StringIO()
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    for row in islice(product_rows(), FEED_ROWS):
        column, mistake = MISTAKEN.get(row["sku"], ("sku", row["sku"]))
        table.writerow({**row, column: mistake})
    return text.getvalue().encode()


@cache
def picture(seed, kind):
    return encoded(draw(seed), kind)


def supplier_files():
    """All that the supplier's server has, by path: the feed, and a catalogue of pictures for each season."""
    files = {"/feed.csv": feed_csv()}
    for number in range(CATALOGUES):
        files[f"/catalogue-{number + 1}.pdf"] = picture(100 + number, "PDF")
    return files


@transaction.atomic
def load():
    """Create what is not there yet."""
    _load_customers()
    _load_products()
    _load_collections()
    _load_supplier()
    _load_orders()
    _load_posts()


def _load_customers():
    random = Random(2)
    customers = [
        Customer(
            name=f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}",
            email=f"customer{number}@mail.example",
            subscribed=number % 6 > 0,
        )
        for number in range(CUSTOMERS)
    ]
    Customer.objects.bulk_create(customers, ignore_conflicts=True)


def _load_products():
    for number, row in enumerate(islice(product_rows(), PRODUCTS)):
        if not Product.objects.filter(sku=row["sku"]).exists():
            product = Product(**row)
            product.picture.save(f"{product.sku}.jpeg", ContentFile(picture(number, "JPEG")), save=False)
            product.save()


def _load_collections():
    Relation = CollectionRule.Relation
    for title, any_rule, rules in [
        ("Bargains", False, [("price", Relation.LESS, "50"), ("stock", Relation.GREATER, "0")]),
        ("Boards", True, [("category", Relation.EQUALS, "Snowboard"), ("name", Relation.CONTAINS, "board")]),
        ("From the forge", False, [("vendor", Relation.CONTAINS, "forge")]),
    ]:
        collection, created = SmartCollection.objects.get_or_create(title=title, any_rule=any_rule)
        if created:
            for field, relation, value in rules:
                collection.rules.create(field=field, relation=relation, value=value)


def _load_supplier():
    supplier, _ = Supplier.objects.get_or_create(
        name="Nordic Wholesale", defaults={"url": "http://127.0.0.1:8001/", "buyer": "buyer@shop.example"}
    )
    for number in range(CATALOGUES):
        Download.objects.get_or_create(supplier=supplier, path=f"catalogue-{number + 1}.pdf")


def _load_orders():
    if Order.objects.exists():
        return
    for customer, product in zip(Customer.objects.order_by("pk")[:4], Product.objects.all(), strict=False):
        order = Order.objects.create(customer=customer)
        OrderLine.objects.create(order=order, product=product, quantity=2, price=product.price)


def _load_posts():
    random = Random(3)
    accounts = {}
    for name, token in [("Snowboard shop", GOOD_TOKEN), ("Summer shop", EXPIRED_TOKEN)]:
        defaults = {"api_url": "http://127.0.0.1:8001/2/tweets", "access_token": token}
        accounts[name], _ = SocialAccount.objects.get_or_create(name=name, defaults=defaults)
    for title, account in [
        ("How to wax a board", "Snowboard shop"),
        ("The new splitboards", "Snowboard shop"),
        ("Goggles for flat light", "Snowboard shop"),
        ("Boards that float", "Summer shop"),
        ("End of summer sale", "Summer shop"),
    ]:
        post, created = Post.objects.get_or_create(
            slug=slugify(title),
            defaults={"title": title, "account": accounts[account], "body": f"{title}. Read on …"},
        )
        if created:
            Comment.objects.bulk_create(_comments(post, random))


def _comments(post, random):
    """Some that a person has judged, for the filter to learn from; and new ones."""
    for number in range(24):
        is_spam, judged = number % 3 == 0, number < 18
        state = Comment.State.SPAM if is_spam else Comment.State.PUBLISHED
        yield Comment(
            post=post,
            author=random.choice(FIRST_NAMES),
            body=spam(random) if is_spam else ham(random),
            state=state if judged else Comment.State.PENDING,
            moderated=judged,
        )
