from django.core.management.base import BaseCommand

from shop import sample
from shop.models import Comment, Customer, Post, Product


class Command(BaseCommand):
    help = "Load the sample shop: customers, products with pictures, posts … Adds only what is missing."

    def handle(self, *args, **options):
        sample.load()
        for model in (Customer, Product, Post, Comment):
            self.stdout.write(f"{model.objects.count():5} {model._meta.verbose_name_plural}")
