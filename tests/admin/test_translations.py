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


def test_the_pages_are_translated_into_german(operator, page, job, failed_attempt):
    row = job()
    failed_attempt(row)
    listed = operator.get(page(), headers=GERMAN).text
    for words in ["Verzögerte Jobs", "fehlgeschlagen", "Warteschlange", "25 von 25"]:
        assert words in listed
    assert "Verlauf der Versuche" in operator.get(page(row.pk, of="change"), headers=GERMAN).text
    assert "1 Job verwerfen?" in operator.get(page(row.pk, of="discard"), headers=GERMAN).text


def test_a_message_has_its_german_plural(operator, page, job):
    chosen = {"action": "retry", "confirmed": "yes", "_selected_action": [job().pk, job().pk]}
    response = operator.post(page(), chosen, headers=GERMAN)
    assert [str(said) for said in get_messages(response.wsgi_request)] == ["2 Jobs werden erneut versucht."]


def test_filters_accept_german_dates(operator, page, job):
    job()
    response = operator.get(page(run_at__range__gte_0="31.12.2000"), headers=GERMAN)
    assert response.context["cl"].result_count == 1


@pytest.mark.parametrize(
    ("language", "words"),
    [("vi", "Công việc thất bại theo nguyên nhân"), ("ar", "المهام الفاشلة حسب السبب")],
)
def test_the_causes_are_shown_in_other_languages(operator, cause_page, job, language, words):
    job(error_fingerprint="c1")
    for address in (cause_page(), cause_page(of="cause", cause="c1"), cause_page(of="retry", cause="c1")):
        response = operator.get(address, headers={"accept-language": language})
        assert words in response.text
        assert f'lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}"' in response.text


@pytest.mark.parametrize("language", ["vi", "ar", "de"])
def test_the_date_range_that_a_count_links_to_is_understood_in_every_language(
    operator, page, cause_page, job, language
):
    job(error_fingerprint="c1")
    headers = {"accept-language": language}
    [line] = operator.get(cause_page(), headers=headers).context["lines"]
    for number, query in line.counts:
        response = operator.get(f"{page()}?{query}", headers=headers)
        assert response.context["cl"].result_count == number == 1


TEXTS_OF_TEMPLATES = re.compile(
    r"""{% translate (?P<quote>["'])(?P<plain>.+?)(?P=quote) %}|"""
    r"""{% blocktranslate[^%]*%}(?P<block>.+?){% (?:plural|end)"""
)
MARKS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}


def marked_texts():
    """Every text of the package's code that is marked for translation."""
    for path in Path(django_delayed.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MARKS:
                yield ast.literal_eval(node.args[0])


def texts_of_templates():
    """Every text of our templates that is marked for translation, except those of Django's admin."""
    for path in Path(django_delayed.__file__).parent.rglob("*.html"):
        for found in TEXTS_OF_TEMPLATES.finditer(path.read_text()):
            text = found["plain"] or re.sub(r"{{ (\w+) }}", r"%(\1)s", found["block"])
            if text not in {"Home", "No, take me back"}:
                yield text


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.parts[-3])
@pytest.mark.parametrize("texts", [marked_texts, texts_of_templates], ids=["code", "templates"])
def test_every_text_is_translated(path, texts):
    with path.with_suffix(".mo").open("rb") as file:
        catalog = gettext.GNUTranslations(file)._catalog
    known = {key[0] if isinstance(key, tuple) else key for key in catalog}
    assert len({*texts()}) > 10
    assert {text for text in texts() if text not in known} == set()


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.parts[-3])
def test_every_translation_is_compiled(path):
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


PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.parts[-3])
def test_each_form_of_a_translation_has_the_placeholders_of_its_text(path):
    with path.with_suffix(".mo").open("rb") as file:
        catalog = gettext.GNUTranslations(file)
    forms = int(re.search(r"nplurals=(\d)", path.read_text())[1])
    plurals = [key for key in catalog._catalog if isinstance(key, tuple)]
    assert len(plurals) > 10 * forms
    for text, form in plurals:
        assert 0 <= form < forms
        assert (text, forms - 1) in catalog._catalog
    for key, words in catalog._catalog.items():
        text = key[0] if isinstance(key, tuple) else key
        # "Retry the other job" is a singular, and needs no number.
        if text and not text.endswith("the other job"):
            assert set(PLACEHOLDER.findall(words)) == set(PLACEHOLDER.findall(text)), words
