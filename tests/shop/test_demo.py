import re
from urllib.request import urlopen

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django_delayed.models import DelayedJob

from shop import demo, sample
from shop.jobs import SendNewsletterJob
from shop.models import Customer, Newsletter, Supplier

KINDS = [
    "CleanUpOrderJob",
    "CustomerMailer.welcome",
    "DeliverNewsletterJob",
    "DownloadJob",
    "ImportProductsJob",
    "IndexProductsJob",
    "Post.send_to_twitter",
    "Product.reindex",
    "PublishPostJob",
    "SendDigestJob",
    "SendNewsletterJob",
    "SmartCollection.refresh",
    "check_for_spam",
    "make_thumbnail",
]


def test_the_demo_does_every_kind_of_work_and_says_what_failed(db, capsys):
    call_command("shop_demo")
    output = capsys.readouterr().out
    assert [kind for kind in KINDS if kind not in output] == []
    for what, count in {
        "mails arrived": "505",
        "thumbnails drawn": "36",
        "products in the shop": "2,997",
    }.items():
        assert re.search(rf"{what} +{count}\n", output)
    (failed,) = DelayedJob.objects.failed()
    assert f"{failed}: OAuthException: Error validating access token" in output
    assert DelayedJob.objects.scheduled().count() == 3
    assert authenticate(username="admin", password="admin").is_superuser


@pytest.mark.django_db(transaction=True)
def test_a_separate_process_delivers_the_newsletter(manage):
    for number in range(20):
        Customer.objects.create(
            name=f"Reader {number}", email=f"reader{number}@mail.example", subscribed=True
        )
    SendNewsletterJob.perform_later(Newsletter.objects.create(subject="Snow", body="It snows."))
    with demo.world() as servers:
        environment = {"EMAIL_HOST": servers.mail.hostname, "EMAIL_PORT": str(servers.mail.port)}
        process = manage("jobs_workoff", "--fail-on-error", environment=environment)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert len(servers.mail.mails) == 20
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_servers_can_run_alone(manage):
    sample.load()
    process = manage("shop_servers", environment={"EMAIL_PORT": "0"})
    address = process.stdout.readline().split()[-1]
    with urlopen(f"{address}feed.csv", timeout=10) as response:
        assert response.read() == sample.feed_csv()
    supplier = Supplier.objects.get()
    assert supplier.feed_url == f"{address}feed.csv"
