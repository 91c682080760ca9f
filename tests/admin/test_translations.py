import ast
import gettext
import re
from pathlib import Path

import django_delayed
import pytest
from django.contrib.messages import get_messages
from django.utils import translation
from django_delayed.states import State

LOCALES = sorted((Path(django_delayed.__file__).parent / "locale").glob("*/LC_MESSAGES/django.po"))
GERMAN = {"accept-language": "de"}


def test_the_pages_speak_german(operator, page, job, failed_attempt):
    row = job()
    failed_attempt(row)
    listed = operator.get(page(), headers=GERMAN).text
    for words in ["Verzögerte Jobs", "fehlgeschlagen", "Warteschlange", "25 von 25"]:
        assert words in listed
    assert "Fehlversuche" in operator.get(page(row.pk, of="change"), headers=GERMAN).text
    assert "1 Job verwerfen?" in operator.get(page(row.pk, of="discard"), headers=GERMAN).text


def test_a_message_counts_in_german(operator, page, job):
    chosen = {"action": "retry", "confirmed": "yes", "_selected_action": [job().pk, job().pk]}
    response = operator.post(page(), chosen, headers=GERMAN)
    assert [str(said) for said in get_messages(response.wsgi_request)] == ["2 Jobs werden erneut versucht."]


def test_filters_take_german_dates(operator, page, job):
    job()
    response = operator.get(page(run_at__range__gte_0="31.12.2000"), headers=GERMAN)
    assert response.context["cl"].result_count == 1


MARKS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}


def marked_texts():
    """Every text of the package's code that is marked for translation."""
    for path in Path(django_delayed.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MARKS:
                yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.parts[-3])
def test_every_text_of_the_code_is_translated(path):
    with path.with_suffix(".mo").open("rb") as file:
        catalog = gettext.GNUTranslations(file)._catalog
    known = {key[0] if isinstance(key, tuple) else key for key in catalog}
    assert {text for text in marked_texts() if text not in known} == set()


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.parts[-3])
def test_what_is_translated_is_compiled_too(path):
    language, texts = path.parts[-3], path.read_text()
    assert path.with_suffix(".mo").exists()
    assert "fuzzy" not in texts
    translated = dict(re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', texts, re.MULTILINE))
    with translation.override(language):
        for state in State:
            assert state.label == translated[state.value]
        assert {text: translation.gettext(text) for text in translated if "\\" not in text} == {
            text: words for text, words in translated.items() if "\\" not in text
        }
