"""The page about progress and results: its job says what the page shows, and its view leads there."""

import pytest
from django.template import engines
from django.test import RequestFactory
from django.urls import reverse
from django_delayed.models import DelayedJob
from django_delayed.testing import work_off
from tests.stories.markdown import ROOT, blocks

import shop.jobs

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(monkeypatch):
    """The blocks of the page, in order, and the names that they have defined so far."""
    written = [block for block in blocks(ROOT / "docs/progress.md") if block.language in ("python", "html")]
    names = {"__name__": "shop.jobs"}
    exec(written[0].text, names)
    # A worker looks for the class there.
    monkeypatch.setattr(shop.jobs, "ImportPrices", names["ImportPrices"], raising=False)
    return written[1:], names


def test_the_code_of_the_page_does_what_it_says(page, client, capsys):
    (reading, returned, urls, view, template), names = page
    assert "django_delayed.urls" in urls.text
    exec(reading.text, names)
    row = names["row"]
    exec(returned.text, names)
    assert (names["progress"], capsys.readouterr().out) == (None, "")
    work_off()
    exec(reading.text.split("\n\n", 1)[1], names)
    assert capsys.readouterr().out.startswith("2.0 2.0 1.0 SB-2 20")
    exec(returned.text, names)
    assert capsys.readouterr().out == "2\n"

    exec(view.text, names)
    response = names["import_prices"](RequestFactory().get("/"))
    assert response.status_code == 302
    assert "It waits for its turn." in client.get(response["Location"]).text
    work_off()
    assert "It is done." in client.get(response["Location"]).text
    shown = engines["django"].from_string(template.text).render({"row": row})
    assert shown.count("<progress") == 1
    assert reverse("django_delayed:progress", args=["x"]) == "/jobs/progress/x/"
    assert DelayedJob.objects.count() == 2
