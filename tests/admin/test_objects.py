"""Links from the page of an object to the jobs about it, and back."""

from types import ModuleType

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django_delayed import enqueue
from django_delayed.admin import DelayedJobAdmin, DelayedJobsMixin
from django_delayed.models import DelayedJob
from django_delayed.states import State
from tests.blog.jobs import Plain
from tests.blog.models import Draft, Post, Word

LINK = '<a href="/staff/django_delayed/delayedjob/?q='


class WithJobs(DelayedJobsMixin, admin.ModelAdmin):
    pass


class WithTemplate(WithJobs):
    change_form_template = "blog/post_form.html"


class WithoutJobs(admin.ModelAdmin):
    pass


@pytest.fixture
def site(settings, tmp_path):
    """Create a second admin site with these models and their admin classes."""

    def create(**registered):
        models = {"jobs": DelayedJob, "posts": Post, "words": Word, "drafts": Draft}
        site = admin.AdminSite(name="staff")
        for name, admin_class in registered.items():
            site.register(models[name], admin_class)
        urls = ModuleType("staff_site")
        urls.urlpatterns = [path("admin/", admin.site.urls), path("staff/", site.urls)]
        settings.ROOT_URLCONF = urls
        return site

    (tmp_path / "blog").mkdir()
    text = '{% extends "admin/change_form.html" %}{% block object-tools-items %}<li>of the project</li>'
    (tmp_path / "blog/post_form.html").write_text(text + "{{ block.super }}{% endblock %}")
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [tmp_path]}]
    return create


@pytest.fixture
def root(client, db):
    """The test client of a superuser."""
    client.force_login(User.objects.create_superuser("root"))
    return client


def page_of(instance):
    meta = instance._meta
    return reverse(f"staff:{meta.app_label}_{meta.model_name}_change", args=[quote(instance.pk)])


def link_on(text):
    return text.split(LINK)[1].split('"')[0] if LINK in text else None


def jobs_behind(client, text):
    """The ids of the jobs that the link on the page leads to."""
    response = client.get(f"/staff/django_delayed/delayedjob/?q={link_on(text)}")
    return {row.pk for row in response.context["cl"].result_list}


def test_the_page_of_an_object_links_to_its_jobs(site, root, post):
    site(jobs=DelayedJobAdmin, posts=WithJobs)
    rows = [enqueue(Plain(post)), enqueue(Plain(post), wait=3600), post.delay().save()]
    enqueue(Plain(Post.objects.create(title="another")))
    text = root.get(page_of(post)).text
    assert "Delayed jobs</a>" in text
    assert jobs_behind(root, text) == {row.pk for row in rows}


@pytest.mark.parametrize("key", ["a/b", "x y?z&w=1#2", "1:2:3", "_3A", 'é"><script>', "%2F"])
def test_a_key_may_be_any_text(site, root, key):
    site(jobs=DelayedJobAdmin, words=WithJobs)
    word = Word.objects.create(text=key)
    row = enqueue(Plain(word))
    text = root.get(page_of(word)).text
    assert "<script>" not in link_on(text)
    assert jobs_behind(root, text) == {row.pk}
    text = root.get(reverse("staff:django_delayed_delayedjob_change", args=[row.pk])).text
    assert f'><a href="{page_of(word)}">blog.word:' in text.replace("&#x27;", "'")


def test_a_proxy_links_to_the_jobs_of_its_object(site, root, post):
    site(jobs=DelayedJobAdmin, drafts=WithJobs)
    row = enqueue(Plain(post))
    assert jobs_behind(root, root.get(page_of(Draft.objects.get())).text) == {row.pk}


def test_the_link_takes_no_query(site, root, post):
    counts = []
    for admin_class in (WithoutJobs, WithJobs):
        site(jobs=DelayedJobAdmin, posts=admin_class)
        root.get(page_of(post))
        with CaptureQueriesContext(connection) as captured:
            text = root.get(page_of(post)).text
        counts.append(len(captured))
        assert bool(link_on(text)) == (admin_class is WithJobs)
    assert counts[0] == counts[1]


def test_the_link_is_added_to_a_template_of_the_project(site, root, post):
    site(jobs=DelayedJobAdmin, posts=WithTemplate)
    text = root.get(page_of(post)).text
    assert "<li>of the project</li>" in text
    assert link_on(text)


def test_the_form_of_a_new_object_has_no_link(site, root, db):
    site(jobs=DelayedJobAdmin, posts=WithJobs)
    address = reverse("staff:blog_post_add")
    assert link_on(root.get(address).text) is None
    invalid = root.post(address, {"title": ""})
    assert (invalid.status_code, link_on(invalid.text)) == (200, None)


def test_a_form_with_errors_keeps_its_link(site, root, post):
    site(jobs=DelayedJobAdmin, posts=WithJobs)
    response = root.post(page_of(post), {"title": "x" * 1000})
    assert response.context["errors"]
    assert link_on(response.text)


def test_users_who_may_not_view_jobs_see_no_link(site, client, django_user_model, post, monkeypatch):
    site(jobs=DelayedJobAdmin, posts=WithJobs)
    client.force_login(django_user_model.objects.create_user("editor", is_staff=True))
    monkeypatch.setattr(WithJobs, "has_view_permission", lambda *_: True)
    response = client.get(page_of(post))
    assert response.status_code == 200
    assert link_on(response.text) is None


def test_a_site_without_jobs_has_no_link(site, root, post):
    site(posts=WithJobs)
    assert link_on(root.get(page_of(post)).text) is None


def test_a_mixin_that_comes_after_the_admin_class_is_refused():
    with pytest.raises(TypeError, match=r"class PostAdmin\(DelayedJobsMixin, ModelAdmin\)"):
        type("PostAdmin", (admin.ModelAdmin, DelayedJobsMixin), {})


def test_the_page_of_a_job_links_to_its_object(site, root, post):
    site(jobs=DelayedJobAdmin, posts=WithoutJobs)
    row = enqueue(Plain(post))
    text = root.get(reverse("staff:django_delayed_delayedjob_change", args=[row.pk])).text
    assert f'><a href="{page_of(post)}">blog.post:{post.pk}</a></dd>' in text


@pytest.mark.parametrize("about", ["blog.token:5", "gone.model:5", "nonsense", ":", "blog.post:", "a.b.c:1"])
def test_an_object_without_a_page_is_shown_as_text(site, root, job, about):
    site(jobs=DelayedJobAdmin, posts=WithoutJobs)
    row = job(State.ENQUEUED, about=about)
    text = root.get(reverse("staff:django_delayed_delayedjob_change", args=[row.pk])).text
    assert f">{about}</dd>" in text


def test_users_who_may_not_view_the_object_see_no_link_to_it(operator, page, job):
    row = job(State.ENQUEUED, about="shop.post:9")
    assert ">shop.post:9</dd>" in operator.get(page(row.pk, of="change")).text


def test_the_page_of_a_deleted_object_redirects(site, root, post):
    site(jobs=DelayedJobAdmin, posts=WithoutJobs)
    address = page_of(post)
    Post.objects.all().delete()
    assert root.get(address).status_code == 302
