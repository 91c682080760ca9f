from django.core.management import call_command
from PIL import Image

from shop import sample
from shop.models import Comment, Customer, Post, Product

COUNTS = {Customer: sample.CUSTOMERS, Product: 12, Post: 5, Comment: 120}


def test_loading_the_shop_again_changes_nothing(db, capsys):
    for _ in range(2):
        call_command("shop_load")
        assert {model: model.objects.count() for model in COUNTS} == COUNTS
    assert "12 products" in capsys.readouterr().out


def test_the_products_have_real_pictures(shop):
    for product in Product.objects.all():
        with product.picture.open() as file, Image.open(file) as picture:
            assert (picture.format, picture.size) == ("JPEG", (1600, 1200))
