"""Drawing pictures of the goods, and making thumbnails of them."""

from io import BytesIO
from random import Random

from django.core.files.base import ContentFile
from PIL import Image, ImageDraw, ImageOps

SIZE = (1600, 1200)


def draw(seed: int) -> Image.Image:
    """Another picture for each seed: a board in front of a sky."""
    random = Random(seed)

    def colour(brightest):
        return tuple(random.randrange(brightest // 2, brightest) for _ in range(3))

    sky = ImageOps.colorize(Image.linear_gradient("L"), colour(120), colour(255)).resize(SIZE)
    canvas = ImageDraw.Draw(sky)
    for _ in range(6):
        x, peak, half = random.randrange(SIZE[0]), random.randrange(500, 1000), random.randrange(150, 500)
        canvas.polygon([(x - half, SIZE[1]), (x, peak), (x + half, SIZE[1])], fill=colour(200))
    left, top = random.randrange(200, 700), random.randrange(100, 400)
    canvas.rounded_rectangle((left, top, left + 700, top + 220), radius=110, fill=colour(255))
    for stripe in range(left + 150, left + 550, 80):
        canvas.line((stripe, top, stripe + 60, top + 220), fill=colour(150), width=random.randrange(8, 30))
    return sky


def encoded(picture: Image.Image, kind: str) -> bytes:
    """The picture as a file of this kind: "JPEG", "WEBP", "PDF" …"""
    buffer = BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def make_thumbnail(product, width, kind="WEBP"):
    """Shrink the picture of a product to `width` pixels; its thumbnail of that width is replaced."""
    with product.picture.open() as file, Image.open(file) as picture:
        picture.thumbnail((width, picture.height))
        thumbnail, _ = product.thumbnails.get_or_create(width=width, defaults={"height": picture.height})
        thumbnail.height = picture.height
        thumbnail.file.delete(save=False)
        thumbnail.file.save(f"{product.sku}-{width}.{kind.lower()}", ContentFile(encoded(picture, kind)))
