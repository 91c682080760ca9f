"""The page about monitoring: its code runs, and its lists match the code."""

import json
import re
from dataclasses import fields

import pytest
from django_delayed import stats
from django_delayed.features.metrics.gauges import gauges
from django_delayed.management.commands import jobs_check
from tests.stories.markdown import ROOT, blocks
from tests.test_docs import table

pytestmark = pytest.mark.django_db

PAGE = ROOT / "docs/monitoring.md"


def block(language, beginning):
    [found] = [one for one in blocks(PAGE) if one.language == language and beginning in one.text]
    return found.text


def rows():
    """The metrics of the table, with the name of their label."""
    found = re.findall(r"^\| `(\w+)` \| (?:`(\w+)` )?\|", PAGE.read_text(), re.MULTILINE)
    return {f"django_delayed_{name}": label for name, label in found}


def test_the_page_has_each_key_of_the_report():
    keys = [key.strip("`") for key, _ in table(PAGE, "key", "is")]
    assert sorted(keys) == sorted(field.name for field in fields(jobs_check.Report))


def test_the_table_has_each_metric_with_its_label():
    found = {
        gauge.name: "".join(name for sample in list(gauge.samples)[:1] for name in sample.labels)
        for gauge in gauges(stats.snapshot())
    }
    assert rows() == found


def test_the_json_of_the_page_has_the_form_of_the_real_one():
    def form(value):
        return {key: form(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value)

    shown = json.loads(block("json", '"queues"'))
    shown["queues"]["default"] = shown["queues"].pop("mail")
    assert form(shown) == form(json.loads(json.dumps(stats.snapshot().as_json())))


def test_the_code_of_the_page_runs():
    names = {}
    exec(block("python", "stats.snapshot()"), names)
    assert names["numbers"].queues.keys() == {"default"}


def test_the_addresses_of_the_page_work(client, settings, monkeypatch):
    monkeypatch.setenv("METRICS_TOKEN", "a-token-of-the-monitoring")
    settings_of_page, urls = {}, {}
    exec(block("python", "METRICS_TOKEN"), settings_of_page)
    exec(block("python", "mysite/urls.py"), urls)
    settings.DJANGO_DELAYED = settings_of_page["DJANGO_DELAYED"]
    settings.ROOT_URLCONF = tuple(urls["urlpatterns"])
    [path] = re.findall(r"metrics_path: (\S+)", PAGE.read_text())
    headers = {"authorization": "Bearer a-token-of-the-monitoring"}
    assert "django_delayed_lanes 0.0" in client.get(path, headers=headers).text
    assert client.get(f"{path}.json", headers=headers).json()["lanes"] == 0
