"""Each kind of work of the shop, enqueued and worked off by the real command."""

import csv
import email
import email.policy
from collections import Counter
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_delayed import delay
from django_delayed.databases import virtual_time
from django_delayed.features.recurring.definitions import definitions
from django_delayed.features.recurring.ticker import Ticker
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob
from PIL import Image

import settings as shop_settings
from shop import demo, sample
from shop.jobs import (
    CleanUpOrderJob,
    DownloadJob,
    ImportProductsJob,
    PublishPostJob,
    SendNewsletterJob,
)
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
)
from shop.pictures import make_thumbnail
from shop.tasks import check_for_spam


@pytest.fixture
def world(shop):
    DelayedJob.objects.all().delete()  # loading the shop has enqueued some
    with demo.world() as servers:
        yield servers


def work_off():
    call_command("jobs_workoff", quiet=True)


def mails_of(servers):
    return [email.message_from_bytes(mail, policy=email.policy.default) for mail in servers.mail.mails]


def test_a_newsletter_reaches_each_subscriber_once(world):
    newsletter = Newsletter.objects.create(subject="Été indien", body="The new boards are here.")
    SendNewsletterJob.perform_later(newsletter)
    SendNewsletterJob.perform_later(newsletter)
    work_off()
    mails = mails_of(world)
    subscribers = Customer.objects.filter(subscribed=True)
    assert sorted(mail["To"] for mail in mails) == sorted(customer.email for customer in subscribers)
    assert {mail["Subject"] for mail in mails} == {"Été indien"}
    assert all("new boards" in mail.get_body(["html"]).get_content() for mail in mails)
    assert not DelayedJob.objects.exists()


def test_a_deleted_subscriber_does_not_stop_the_newsletter(world):
    leaver, reader = Customer.objects.filter(subscribed=True).order_by("-pk")[:2]
    Customer.objects.exclude(pk__in=[leaver.pk, reader.pk]).update(subscribed=False)
    SendNewsletterJob.perform_now(Newsletter.objects.create(subject="Snow", body="It snows."))
    leaver.delete()
    work_off()
    assert [mail["To"] for mail in mails_of(world)] == [reader.email]
    assert DelayedJob.objects.failed().get().error_class.endswith("RecordNotFound")


def test_a_welcome_is_written_and_sent_by_the_worker(world):
    customer = Customer.objects.first()
    CustomerMailer.delay().welcome(customer)
    assert world.mail.mails == []
    Customer.objects.filter(pk=customer.pk).update(name="Håkon")
    work_off()
    (mail,) = mails_of(world)
    assert (mail["To"], mail["Subject"]) == (customer.email, "Welcome, Håkon")


def test_an_order_is_confirmed_with_its_attachment(world):
    order = Order.objects.first()
    deliver_later(CustomerMailer().confirmation(order), queue="mail")
    work_off()
    (mail,) = mails_of(world)
    assert f"Total: {order.total}" in mail.get_body(["plain"]).get_content()
    assert "<li>" in mail.get_body(["html"]).get_content()
    (attachment,) = mail.iter_attachments()
    assert attachment.get_filename() == f"order-{order.pk}.csv"
    line = order.lines.get()
    (row,) = csv.DictReader(StringIO(attachment.get_content()))
    assert row == {
        "sku": line.product.sku,
        "product": line.product.name,
        "quantity": str(line.quantity),
        "price": str(line.price),
    }


def test_pictures_are_resized_to_every_width(world):
    product = Product.objects.first()
    for width, kind in demo.THUMBNAILS.items():
        delay(make_thumbnail, queue="images")(product, width=width, kind=kind)
    work_off()
    sizes = {}
    for thumbnail in product.thumbnails.all():
        with thumbnail.file.open() as file, Image.open(file) as picture:
            sizes[picture.size] = picture.format
    assert sizes == {(160, 120): "WEBP", (320, 240): "WEBP", (640, 480): "JPEG"}


def test_downloads_are_complete_and_fetched_again_only_when_they_changed(world):
    download = Download.objects.first()
    DownloadJob.perform_later(download)
    work_off()
    download.refresh_from_db()
    with download.file.open() as file:
        assert file.read() == world.web.files["/catalogue-1.pdf"]
    assert download.size == len(world.web.files["/catalogue-1.pdf"])
    first = download.file.name
    DownloadJob.perform_later(download)
    work_off()
    download.refresh_from_db()
    assert download.file.name == first
    world.web.files["/catalogue-1.pdf"] = b"%PDF-1.7 the next season"
    DownloadJob.perform_later(download)
    work_off()
    download.refresh_from_db()
    assert download.size == 24


def test_a_busy_server_is_asked_again_at_the_time_that_it_names(world):
    world.web.retry_after = 3600
    world.web.busy.add("/catalogue-1.pdf")
    DownloadJob.perform_later(Download.objects.first())
    work_off()
    job = DelayedJob.objects.retrying().get()
    assert job.last_error.startswith("ServerBusy: ")
    assert timedelta(minutes=50) < job.run_at - timezone.now() < timedelta(minutes=70)
    DelayedJob.objects.update(run_at=timezone.now() - timedelta(seconds=1))
    work_off()
    assert Download.objects.first().size
    assert not DelayedJob.objects.exists()


def test_an_incomplete_download_changes_nothing_and_is_tried_again(world):
    world.web.broken.add("/catalogue-1.pdf")
    DownloadJob.perform_later(Download.objects.first())
    work_off()
    assert DelayedJob.objects.retrying().get().last_error.startswith("IncompleteDownload: ")
    assert not Download.objects.first().file


def test_an_import_updates_products_index_and_collections_and_sends_a_report(world):
    SearchTerm.objects.index(list(Product.objects.values_list("pk", flat=True)))
    ImportProductsJob.perform_later(Supplier.objects.get())
    work_off()
    # The job is kept for a while, with its progress.
    assert DelayedJob.objects.get().state == "finished"
    rows = csv.DictReader(world.web.files["/feed.csv"].decode().splitlines())
    offered = {row["sku"]: row for row in rows if row["sku"] not in sample.MISTAKEN}
    products = Product.objects.in_bulk(field_name="sku")
    assert products.keys() == offered.keys()
    assert all(str(products[sku].price) == row["price"] for sku, row in offered.items())
    assert set(Product.objects.filter(category="Snowboard")) <= set(Product.objects.search("snowboard"))
    assert SearchTerm.objects.values("product").distinct().count() == len(offered)
    bargains = SmartCollection.objects.get(title="Bargains").products
    assert bargains.count() == Product.objects.filter(price__lt=50, stock__gt=0).count() > 0
    (mail,) = mails_of(world)
    assert mail["To"] == "buyer@shop.example"
    assert "3 rejected" in mail.get_content()


def test_an_import_that_fails_imports_nothing(world):
    world.web.files["/feed.csv"] = b"sku,name\nSB-1,Board\n"
    before = Product.objects.count()
    ImportProductsJob.perform_later(Supplier.objects.get())
    work_off()
    assert DelayedJob.objects.retrying().get().last_error.startswith("KeyError: ")
    assert Product.objects.count() == before
    assert world.mail.mails == []


def test_a_changed_product_is_found_by_its_new_words(world):
    product = Product.objects.first()
    product.description = "Now with a hummingbird."
    product.save()
    assert not Product.objects.search("hummingbird").exists()
    DelayedJob.objects.run_now()  # the job waits a second for further changes
    work_off()
    assert Product.objects.search("hummingbird").get() == product


def test_new_comments_are_published_or_marked_as_spam(world):
    pending = Comment.objects.filter(state=Comment.State.PENDING)
    results = [check_for_spam.enqueue(comment.pk) for comment in pending]
    gone = check_for_spam.enqueue(0)
    work_off()
    assert not pending.all()
    for result in [*results, gone]:
        result.refresh()
    assert Counter(result.return_value for result in results) == {"published": 20, "spam": 10}
    assert gone.return_value is None
    spam = Comment.objects.filter(moderated=False, state=Comment.State.SPAM)
    assert spam.count() == 10
    assert all("http" in comment.body for comment in spam)


def test_an_unpaid_order_is_cancelled_and_a_paid_one_needs_no_job(world):
    forgotten, paid, *_ = Order.objects.order_by("pk")
    paid.state = Order.State.PAID
    stock = forgotten.lines.get().product.stock
    CleanUpOrderJob.perform_later(forgotten)
    assert CleanUpOrderJob.perform_later(paid) is None
    work_off()
    forgotten.refresh_from_db()
    assert forgotten.state == Order.State.CANCELLED
    assert forgotten.lines.get().product.stock == stock + 2


def test_an_order_is_given_a_week_to_be_paid(world):
    CleanUpOrderJob.set(wait=timedelta(weeks=1)).perform_later(Order.objects.first())
    work_off()
    assert DelayedJob.objects.scheduled().count() == 1
    assert not Order.objects.exclude(state=Order.State.OPEN).exists()


def test_a_post_is_announced(world):
    post = Post.objects.first()
    post.delay(queue="posts").send_to_twitter()
    work_off()
    assert world.web.tweets == [f"{post.title} https://shop.example/posts/{post.slug}/"]


def test_an_expired_token_fails_the_job_and_a_mail_reports_it(world):
    post = Post.objects.get(account__name="Summer shop", slug="end-of-summer-sale")
    PublishPostJob.perform_later(post)
    work_off()
    failed = DelayedJob.objects.exclude(last_error="").last()
    assert failed.last_error.startswith(
        "OAuthException: Error validating access token: The session has expired."
    )
    assert "send_to_twitter" in failed.last_error  # the traceback
    assert list(DelayedJob.objects.failed()) == [failed]
    (mail,) = mails_of(world)
    assert mail["Subject"] == "“End of summer sale” was not announced"


def test_with_a_new_token_the_failed_job_can_be_retried(world):
    post = Post.objects.get(slug="end-of-summer-sale")
    PublishPostJob.perform_later(post)
    work_off()
    SocialAccount.objects.update(access_token=sample.GOOD_TOKEN)
    DelayedJob.objects.failed().retry()
    work_off()
    assert not DelayedJob.objects.exists()
    assert len(world.web.tweets) == 1


def test_each_morning_a_digest_lists_the_orders_and_the_scarce_products(world, settings):
    Order.objects.filter(pk=Order.objects.first().pk).update(placed_at=timezone.now() - timedelta(days=2))
    orders = Order.objects.filter(placed_at__gte=timezone.now() - timedelta(days=1))
    scarce = Product.objects.first()
    Product.objects.filter(pk=scarce.pk).update(stock=1)
    # The schedule is in the settings of the shop, which the tests do not use.
    settings.DJANGO_DELAYED = shop_settings.DJANGO_DELAYED
    with virtual_time() as time:
        Ticker(definitions()).run()
        time.advance(timedelta(days=1))
        Ticker(definitions()).run()
    [row] = DelayedJob.objects.all()
    assert (row.name, row.queue, timezone.localtime(row.run_at).hour) == ("SendDigestJob", "mail", 7)
    DelayedJob.objects.update(run_at=timezone.now())
    work_off()
    [mail] = mails_of(world)
    text = mail.get_content()
    assert f"{orders.count()} orders, {sum(order.total for order in orders)} in all" in text
    assert f"{scarce}: 1 left" in text
