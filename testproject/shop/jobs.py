"""The shop's background work that wants hooks or a policy of its own."""

import logging
from datetime import timedelta
from io import TextIOWrapper

from django.core.files import File
from django.db import transaction
from django.utils import timezone
from django_delayed import Job, enqueue_all
from django_delayed.mail import send_mail

from shop.downloads import ServerBusy, fetched
from shop.feed import import_products
from shop.mailers import SHOP, CustomerMailer
from shop.models import Customer, Newsletter, Product, SearchTerm, SmartCollection

logger = logging.getLogger(__name__)

PRODUCTS_A_JOB = 250


class SendNewsletterJob(Job):
    """Enqueue one letter for each subscriber; each is sent, and tried again, by itself."""

    queue = "newsletter"

    def perform(self, newsletter):
        with transaction.atomic():
            # The mark and the letters are written together: performed again, it sends none again.
            if Newsletter.objects.filter(pk=newsletter.pk, sent_at=None).update(sent_at=timezone.now()):
                subscribers = Customer.objects.filter(subscribed=True)
                enqueue_all(DeliverNewsletterJob(newsletter, customer) for customer in subscribers)


class DeliverNewsletterJob(Job):
    queue = "newsletter"
    priority = 50
    max_attempts = 5

    def perform(self, newsletter, customer):
        CustomerMailer().newsletter(newsletter, customer).send()


class DownloadJob(Job):
    """Get our copy of a supplier's file up to date."""

    queue = "downloads"
    max_attempts = 5
    max_run_time = timedelta(minutes=2)

    def perform(self, download):
        with fetched(download.url, download.etag) as (content, etag):
            download.fetched_at = timezone.now()
            if content:
                download.etag = etag
                download.file.delete(save=False)
                download.file.save(download.path, File(content), save=False)
                download.size = download.file.size
            download.save()

    def wait_before_retry(self, attempts, error):
        if isinstance(error, ServerBusy):
            return timedelta(seconds=error.retry_after)
        return super().wait_before_retry(attempts, error)


class ImportProductsJob(Job):
    """Take over a supplier's feed, and enqueue what follows from it."""

    queue = "imports"
    max_attempts = 3
    max_run_time = timedelta(minutes=10)

    def perform(self, supplier):
        with (
            fetched(supplier.feed_url) as (feed, _),
            TextIOWrapper(feed, encoding="utf-8", newline="") as lines,
            transaction.atomic(),
        ):
            result = import_products(lines)
            supplier.imported_at, supplier.import_report = timezone.now(), str(result)
            supplier.save(update_fields=["imported_at", "import_report"])
            self._follow_up(result.new + result.changed)

    def _follow_up(self, skus):
        products = list(Product.objects.filter(sku__in=skus).values_list("pk", flat=True))
        chunks = [
            products[start : start + PRODUCTS_A_JOB] for start in range(0, len(products), PRODUCTS_A_JOB)
        ]
        enqueue_all(IndexProductsJob(chunk) for chunk in chunks)
        for collection in SmartCollection.objects.all():
            collection.delay(queue="collections", priority=30).refresh()

    def after_perform(self):
        (supplier,) = self.args
        send_mail(f"Import from {supplier}", supplier.import_report, SHOP, [supplier.buyer])


class IndexProductsJob(Job):
    """Bring the search index up to date for many products at once."""

    queue = "index"
    priority = 20

    def perform(self, product_ids):
        SearchTerm.objects.index(product_ids)


class CleanUpOrderJob(Job):
    """Cancel an order that was never paid, and give its goods back to the stock."""

    queue = "maintenance"
    priority = 10
    max_attempts = 8
    max_run_time = timedelta(minutes=5)

    def before_enqueue(self):
        order = self.args[0]
        return order.state == order.State.OPEN

    def perform(self, order, *, dry_run=False):
        if dry_run:
            logger.info("%s would be cancelled", order)
        elif order.cancel():
            logger.info("%s was cancelled", order)


class PublishPostJob(Job):
    """Publish a post and announce it. Tried once: whether to announce it again is for a person to say."""

    queue = "posts"
    max_attempts = 1

    def perform(self, post):
        post.publish()
        post.send_to_twitter()

    def on_failure(self, error):
        (post,) = self.args
        send_mail(f"“{post}” was not announced", f"{type(error).__name__}: {error}", SHOP, [SHOP])
