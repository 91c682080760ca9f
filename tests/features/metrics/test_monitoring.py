"""The rules and the dashboard of docs/monitoring: Prometheus accepts them, and we export their metrics."""

import json
import re
import shutil
import subprocess

import pytest
from django_delayed import stats
from django_delayed.features.metrics.gauges import gauges
from tests.stories.markdown import ROOT

FOLDER = ROOT / "docs/monitoring"
FILES = ["alerts.yml", "alerts_test.yml", "grafana.json"]
ALERT = r"^ +- alert: (\w+)$"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


def promtool(*arguments):
    return subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=120)


@needs_promtool
def test_prometheus_accepts_the_rules():
    checked = promtool("check", "rules", "alerts.yml")
    alerts = re.findall(ALERT, (FOLDER / "alerts.yml").read_text(), re.MULTILINE)
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(alerts)} rules found" in checked.stdout


@needs_promtool
def test_the_rules_fire_when_they_should_and_at_no_other_time():
    tested = promtool("test", "rules", "alerts_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
def test_a_wrong_rule_fails_its_test(tmp_path):
    for file in FILES:
        shutil.copy(FOLDER / file, tmp_path)
    rules = tmp_path / "alerts.yml"
    rules.write_text(rules.read_text().replace("jobs_due) > 0", "jobs_due) > 1000"))
    assert promtool("test", "rules", str(tmp_path / "alerts_test.yml")).returncode == 1


def test_each_rule_has_a_test_in_which_it_fires():
    alerts = re.findall(ALERT, (FOLDER / "alerts.yml").read_text(), re.MULTILINE)
    tests = (FOLDER / "alerts_test.yml").read_text()
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:", tests)
    assert alerts
    assert sorted(set(fired)) == sorted(alerts)


def named_in(file):
    return set(re.findall(r"\bdjango_delayed_\w+", (FOLDER / file).read_text()))


@pytest.mark.django_db
@pytest.mark.parametrize("file", FILES)
def test_each_metric_that_is_named_is_exported(file):
    exported = {gauge.name for gauge in gauges(stats.snapshot())}
    assert named_in(file)
    assert named_in(file) <= exported


@pytest.mark.django_db
def test_the_dashboard_shows_each_metric():
    assert named_in("grafana.json") == {gauge.name for gauge in gauges(stats.snapshot())}


@needs_promtool
def test_prometheus_understands_each_expression_of_the_dashboard(tmp_path):
    dashboard = json.loads((FOLDER / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"asked_{number}", "expr": expression.replace("$queue", ".*")}
        for number, expression in enumerate(asked)
    ]
    # JSON is YAML too.
    (tmp_path / "asked.yml").write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    checked = promtool("check", "rules", str(tmp_path / "asked.yml"))
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(asked)} rules found" in checked.stdout


def test_the_panels_of_the_dashboard_do_not_overlap():
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
