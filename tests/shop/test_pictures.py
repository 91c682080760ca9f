from PIL import Image

from shop.models import Product
from shop.pictures import SIZE, draw, make_thumbnail


def test_each_seed_has_a_picture_of_its_own():
    assert draw(1).size == SIZE
    assert draw(1).tobytes() == draw(1).tobytes()
    assert draw(1).tobytes() != draw(2).tobytes()


def test_a_thumbnail_has_the_width_and_keeps_the_proportions(shop):
    product = Product.objects.first()
    make_thumbnail(product, width=320)
    thumbnail = product.thumbnails.get(width=320)
    with thumbnail.file.open() as file, Image.open(file) as picture:
        assert (picture.format, picture.size) == ("WEBP", (320, 240))
    assert thumbnail.height == 240


def test_a_thumbnail_made_again_replaces_its_file(shop, media_root):
    product = Product.objects.first()
    make_thumbnail(product, width=160, kind="JPEG")
    make_thumbnail(product, width=160, kind="JPEG")
    assert [path.name for path in (media_root / "thumbnails").iterdir()] == [f"{product.sku}-160.jpeg"]
    assert product.thumbnails.count() == 1
