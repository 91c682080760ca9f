"""Run Django's tests in a folder, and write the result of each as JSON: null, or its error."""

import json
import sys
import unittest

import django
from django.conf import settings
from django.test.utils import get_runner


class Outcomes(unittest.TextTestResult):
    """The result of each test, by its name: None, or its error."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.outcomes = {}

    def addSuccess(self, test):
        super().addSuccess(test)
        self.outcomes.setdefault(_name_of(test), None)

    def addError(self, test, error):
        super().addError(test, error)
        self.outcomes[_name_of(test)] = self._exc_info_to_string(error, test)

    addFailure = addError

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.outcomes[_name_of(test)] = self._exc_info_to_string(error, test)


def _name_of(test):
    return test.id().partition(".test_")[2]


def main(folder, file):
    sys.path.insert(0, folder)
    django.setup()
    # It must be imported before the tests import what it replaces.
    from tests.tasks.conformance import shim  # noqa: F401

    runner = get_runner(settings)(verbosity=0, interactive=False)
    runner.get_resultclass = lambda: Outcomes
    results = []
    run_suite = runner.run_suite

    def run(suite, **options):
        results.append(run_suite(suite, **options))
        return results[-1]

    runner.run_suite = run
    runner.run_tests(["tasks"])
    with open(file, "w") as opened:
        json.dump(results[0].outcomes, opened)


main(*sys.argv[1:])
