"""Who buys, and what: customers, their orders, and the newsletter they asked for."""

from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from shop.models.catalogue import Product


class Customer(models.Model):
    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    subscribed = models.BooleanField("subscribed to the newsletter", default=False)

    def __str__(self):
        return self.name


class Order(models.Model):
    class State(models.TextChoices):
        OPEN = "open"
        PAID = "paid"
        CANCELLED = "cancelled"

    customer = models.ForeignKey(Customer, models.PROTECT, related_name="orders")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    placed_at = models.DateTimeField(default=timezone.now)

    def __str__(self):
        return f"Order {self.pk} of {self.customer}"

    @property
    def total(self):
        return sum(line.price * line.quantity for line in self.lines.all())

    def cancel(self):
        """Give the goods back to the stock. Returns False when there was nothing to cancel any more."""
        with transaction.atomic():
            if not Order.objects.filter(pk=self.pk, state=self.State.OPEN).update(state=self.State.CANCELLED):
                return False
            for line in self.lines.all():
                Product.objects.filter(pk=line.product_id).update(stock=F("stock") + line.quantity)
        return True


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField(default=1)
    price = models.DecimalField(max_digits=9, decimal_places=2)

    def __str__(self):
        return f"{self.quantity} {self.product}"


class Newsletter(models.Model):
    subject = models.CharField(max_length=200)
    body = models.TextField()
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self):
        return self.subject
