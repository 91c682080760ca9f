"""What the shop sells: products, their thumbnails, the search index over them, and smart collections."""

from django.db import models, transaction
from django.db.models import Count, Q, Sum
from django_delayed import DelayMixin, Unique, handle_asynchronously

from shop.search import terms_of, weighed_terms


class ProductQuerySet(models.QuerySet):
    def search(self, text):
        """The products that have every word of `text`, best first."""
        terms = set(terms_of(text))
        if not terms:
            return self.none()
        return (
            self.filter(search_terms__term__in=terms)
            .annotate(hits=Count("search_terms__term", distinct=True), score=Sum("search_terms__weight"))
            .filter(hits=len(terms))
            .order_by("-score", "name")
        )


class Product(DelayMixin, models.Model):
    sku = models.CharField(max_length=32, unique=True)
    name = models.CharField(max_length=200)
    vendor = models.CharField(max_length=100)
    category = models.CharField(max_length=50, db_index=True)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=9, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)
    picture = models.ImageField(upload_to="products", blank=True)

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["sku"]

    def __str__(self):
        return self.name

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)
        self.reindex()

    # Each save replaces the job that waits, so it runs once the product has not been saved for a second.
    @handle_asynchronously(queue="index", priority=20, wait=1, unique=Unique(on_duplicate="replace"))
    def reindex(self):
        SearchTerm.objects.index([self.pk])


class Thumbnail(models.Model):
    product = models.ForeignKey(Product, models.CASCADE, related_name="thumbnails")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    file = models.FileField(upload_to="thumbnails")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["product", "width"], name="one_thumbnail_a_width")]

    def __str__(self):
        return self.file.name


class SearchTermManager(models.Manager):
    def index(self, product_ids):
        """Replace the terms of these products; returns the number of terms."""
        with transaction.atomic():
            # Two workers may index one product at once: without the lock both would insert its terms.
            products = list(Product.objects.select_for_update().filter(pk__in=product_ids))
            self.filter(product__in=products).delete()
            return len(self.bulk_create(self._terms(products), batch_size=1000))

    def _terms(self, products):
        for product in products:
            texts = {product.name: 5, product.vendor: 3, product.category: 3, product.description: 1}
            for term, weight in weighed_terms(texts).items():
                yield self.model(product=product, term=term, weight=weight)


class SearchTerm(models.Model):
    """One entry of the inverted index: a word of a product, and its weight there."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="search_terms")
    term = models.CharField(max_length=64, db_index=True)
    weight = models.PositiveIntegerField()

    objects = SearchTermManager()

    def __str__(self):
        return self.term


class SmartCollection(DelayMixin, models.Model):
    """A collection that nobody fills by hand: it has all products that fit its rules."""

    title = models.CharField(max_length=100, unique=True)
    any_rule = models.BooleanField(default=False, help_text="One fitting rule is enough.")
    products = models.ManyToManyField(Product, related_name="collections", editable=False)

    def __str__(self):
        return self.title

    def refresh(self):
        """Put in what fits the rules now and take out what no longer does; returns the number of products."""
        conditions = [rule.condition() for rule in self.rules.all()]
        fitting = Q(*conditions, _connector=Q.OR if self.any_rule else Q.AND)
        with transaction.atomic():
            self.products.set(Product.objects.filter(fitting) if conditions else [])
            return self.products.count()


class CollectionRule(models.Model):
    class Relation(models.TextChoices):
        EQUALS = "exact", "is equal to"
        CONTAINS = "icontains", "contains"
        GREATER = "gt", "is greater than"
        LESS = "lt", "is less than"

    FIELDS = ["name", "vendor", "category", "price", "stock"]

    collection = models.ForeignKey(SmartCollection, models.CASCADE, related_name="rules")
    field = models.CharField(max_length=20, choices=[(name, name) for name in FIELDS])
    relation = models.CharField(max_length=20, choices=Relation.choices)
    value = models.CharField(max_length=100)

    def __str__(self):
        return f"{self.field} {self.get_relation_display()} {self.value}"

    def condition(self):
        return Q((f"{self.field}__{self.relation}", self.value))
