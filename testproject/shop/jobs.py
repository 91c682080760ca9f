"""The shop's background work that needs hooks or a policy of its own."""

import logging
from dataclasses import asdict
from datetime import timedelta
from io import TextIOWrapper

from django.core.files import File
from django.db import transaction
from django.utils import timezone
from django_delayed import Job, enqueue_all
from django_delayed.mail import send_mail

from shop.downloads import ServerBusy, fetched
from shop.feed import Report, batches_of, import_products
from shop.mailers import SHOP, CustomerMailer
from shop.models import Customer, Newsletter, Order, Product, SearchTerm, SmartCollection

logger = logging.getLogger(__name__)

PRODUCTS_A_JOB = 250
LINES_A_BATCH = 500
FEW = 3  # of a product: time to order more


class SendNewsletterJob(Job):
    """Enqueue one letter for each subscriber; each is sent, and tried again, by itself."""

    queue = "newsletter"

    def perform(self, newsletter):
        with transaction.atomic():
            # The mark and the letters are written together: when the job is repeated, it sends none again.
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
    """Import a supplier's feed, and enqueue what follows; after an interruption, go on at the next lines."""

    queue = "imports"
    max_attempts = 3
    max_run_time = timedelta(hours=1)
    keep_for = timedelta(hours=1)  # for whoever looks at its progress when it is done

    def perform(self, supplier):
        with self.step("lines") as step:
            if not step.is_done:
                with (
                    fetched(supplier.feed_url) as (feed, etag),
                    TextIOWrapper(feed, encoding="utf-8", newline="") as lines,
                ):
                    self._take_over(supplier, lines, etag, step)
        with self.step("collections") as step, step.transaction():
            if not step.is_done:
                supplier.imported_at = timezone.now()
                supplier.save(update_fields=["imported_at", "import_report"])
                for collection in SmartCollection.objects.all():
                    collection.delay(queue="collections", priority=30).refresh()

    def _take_over(self, supplier, lines, etag, step):
        """Import the lines in batches; each is committed with its place in the feed, so it is done once."""
        read, line, numbers = step.cursor or (etag, 0, {})
        if read != etag:
            # The supplier has another feed by now.
            line, numbers = 0, {}
        report = Report(**numbers)
        supplier.import_report = str(report)
        for rows in batches_of(self._counted(lines), line, LINES_A_BATCH):
            with step.transaction():
                result = import_products(rows)
                report.add(result)
                supplier.import_report = str(report)
                supplier.save(update_fields=["import_report"])
                self._index(result.new + result.changed)
                step.advance((etag, rows[-1][0], asdict(report)))

    def _counted(self, lines):
        """The lines, with the progress up to each."""
        total = sum(1 for _ in lines)
        lines.seek(0)
        for number, line in enumerate(lines, 1):
            self.progress(number, total, "Lines of the feed")
            yield line

    def _index(self, skus):
        products = list(Product.objects.filter(sku__in=skus).values_list("pk", flat=True))
        chunks = [
            products[start : start + PRODUCTS_A_JOB] for start in range(0, len(products), PRODUCTS_A_JOB)
        ]
        enqueue_all(IndexProductsJob(chunk) for chunk in chunks)

    def after_perform(self):
        (supplier,) = self.args
        send_mail(f"Import from {supplier}", supplier.import_report, SHOP, [supplier.buyer])


class SendDigestJob(Job):
    """The mail of each morning: what was ordered since the last one, and what runs out."""

    expires = timedelta(hours=12)

    def perform(self):
        since = timezone.now() - timedelta(days=1)
        orders = Order.objects.filter(placed_at__gte=since).exclude(state=Order.State.CANCELLED)
        scarce = Product.objects.filter(stock__lt=FEW).order_by("stock", "pk")[:20]
        lines = [
            f"{orders.count()} orders, {sum(order.total for order in orders)} in all",
            *(f"{product}: {product.stock} left" for product in scarce),
        ]
        send_mail("What happened in the shop", "\n".join(lines), SHOP, [SHOP])


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
    """Publish a post and announce it. Tried once: a person decides whether to announce it again."""

    queue = "posts"
    max_attempts = 1

    def perform(self, post):
        post.publish()
        post.send_to_twitter()

    def on_failure(self, error):
        (post,) = self.args
        send_mail(f"“{post}” was not announced", f"{type(error).__name__}: {error}", SHOP, [SHOP])
