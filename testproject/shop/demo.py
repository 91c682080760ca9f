"""The demo: every kind of work that the shop has is enqueued, worked off, and counted."""

from collections import Counter
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.test import override_settings
from django_delayed import delay, enqueue_all
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob
from django_delayed.signals import job_errored, job_finished

from shop import sample
from shop.jobs import (
    CleanUpOrderJob,
    DownloadJob,
    ImportProductsJob,
    PublishPostJob,
    SendDigestJob,
    SendNewsletterJob,
)
from shop.loopback import LoopbackServers
from shop.mailers import CustomerMailer
from shop.models import (
    Comment,
    Customer,
    Download,
    Newsletter,
    Order,
    Post,
    Product,
    SearchTerm,
    SmartCollection,
    SocialAccount,
    Supplier,
    Thumbnail,
)
from shop.pictures import make_thumbnail
from shop.tasks import check_for_spam

SMTP = "django.core.mail.backends.smtp.EmailBackend"
THUMBNAILS = {160: "WEBP", 320: "WEBP", 640: "JPEG"}


@contextmanager
def world(smtp_port=0):
    """A block with the servers that the shop talks to; the shop gets their addresses."""
    with LoopbackServers(sample.supplier_files(), {sample.GOOD_TOKEN}, smtp_port) as servers:
        Supplier.objects.update(url=servers.web.url)
        SocialAccount.objects.update(api_url=servers.web.tweets_url)
        with override_settings(**_mail_settings(servers.mail)):
            yield servers


def _mail_settings(server):
    if hasattr(settings, "MAILERS"):
        address = {"host": server.hostname, "port": server.port}
        return {"MAILERS": {"default": {"BACKEND": SMTP, "OPTIONS": address}}}
    return {"EMAIL_BACKEND": SMTP, "EMAIL_HOST": server.hostname, "EMAIL_PORT": server.port}


@contextmanager
def tally():
    """Two Counters, by the names of jobs: jobs of this process that finish, and attempts that fail."""
    finished, errors = Counter(), Counter()

    def count_finished(delayed_job, **_):
        finished[delayed_job.name] += 1

    def count_error(delayed_job, **_):
        errors[delayed_job.name] += 1

    job_finished.connect(count_finished)
    job_errored.connect(count_error)
    try:
        yield finished, errors
    finally:
        job_finished.disconnect(count_finished)
        job_errored.disconnect(count_error)


def enqueue_all_kinds(servers):
    """Enqueue what the shop's views and its admin would enqueue in a day."""
    servers.web.busy.add("/catalogue-2.pdf")  # for its first request
    enqueue_all(DownloadJob(download) for download in Download.objects.select_related("supplier"))
    ImportProductsJob.perform_later(Supplier.objects.get())
    _change_products()
    for comment in Comment.objects.filter(state=Comment.State.PENDING):
        check_for_spam.enqueue(comment.pk)
    _serve_customers()
    _announce_posts()
    SendDigestJob.perform_later()  # as jobs_work does each morning


def _change_products():
    for product in Product.objects.exclude(picture=""):
        for width, kind in THUMBNAILS.items():
            delay(make_thumbnail, queue="images")(product, width=width, kind=kind)
    product = Product.objects.first()
    product.description = "Now with a hand-painted hummingbird."
    product.save()  # enqueues its reindex
    for collection in SmartCollection.objects.all():
        collection.delay(queue="collections").refresh()


def _serve_customers():
    newsletter = Newsletter.objects.create(subject="Winter is coming", body="The new boards are here.")
    SendNewsletterJob.perform_later(newsletter)
    CustomerMailer.delay(queue="mail", priority=-10).welcome(Customer.objects.first())
    forgotten, *others = Order.objects.order_by("pk")
    deliver_later(CustomerMailer().confirmation(others[0]), queue="mail", priority=-10)
    CleanUpOrderJob.perform_later(forgotten)
    for order in others:
        CleanUpOrderJob.set(wait=timedelta(weeks=1)).perform_later(order)


def _announce_posts():
    *posts, sale = Post.objects.order_by("pk")
    for post in posts:
        post.delay(queue="posts", priority=-5).send_to_twitter()
    PublishPostJob.perform_later(sale)


def report(servers, finished, errors):
    """What happened, line by line."""
    yield f"{'Jobs':32}{'finished':>10}{'errors':>10}"
    for name in sorted(finished | errors):
        yield f"  {name:30}{finished[name]:10}{errors[name] or '':>10}"
    yield "Results:"
    yield from (f"  {what:30}{count:10,}" for what, count in _results(servers).items())
    yield "What failed:"
    for job in DelayedJob.objects.exclude(last_error="").order_by("pk"):
        yield f"  {job.state.label:9} {job}: {job.last_error.splitlines()[0]}"


def _results(servers):
    return {
        "mails arrived": len(servers.mail.mails),
        "tweets appeared": len(servers.web.tweets),
        "thumbnails drawn": Thumbnail.objects.count(),
        "files downloaded": Download.objects.exclude(file="").count(),
        "products in the shop": Product.objects.count(),
        "terms in the search index": SearchTerm.objects.count(),
        "products in smart collections": SmartCollection.products.through.objects.count(),
        "comments recognised as spam": Comment.objects.filter(
            moderated=False, state=Comment.State.SPAM
        ).count(),
        "orders cancelled": Order.objects.filter(state=Order.State.CANCELLED).count(),
        "jobs scheduled for later": DelayedJob.objects.scheduled().count(),
    }
