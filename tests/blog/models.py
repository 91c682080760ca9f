"""Models of every kind that a job may be about."""

import functools
import uuid
from datetime import UTC, datetime
from functools import cached_property

from django.db import models
from django_delayed import DelayMixin, handle_asynchronously
from django_fsm import FSMField, transition

from . import diary


class Article(DelayMixin, models.Model):
    title = models.CharField(max_length=100, choices=[("a", "An A")])

    class Meta:
        abstract = True

    @handle_asynchronously
    def archive(self):
        diary.write("archive", type(self).__name__, self.pk)


class PublishedManager(models.Manager):
    def get_queryset(self):
        return super().get_queryset().exclude(title="hidden")


class Post(Article):
    publish_at = datetime(2100, 1, 1, 9, 30, tzinfo=UTC)

    objects = PublishedManager()
    everything = models.Manager()

    def send_to_twitter(self, text="", *, tag=None):
        """Tell the world."""
        diary.write("tweet", self.pk, text, tag)
        return "sent"

    def fail(self):
        raise ConnectionError("no route")

    async def publish_async(self, title):
        await type(self).objects.filter(pk=self.pk).aupdate(title=title)
        diary.write("published", self.pk)

    @handle_asynchronously(queue="async")
    async def rename_async(self, title):
        await self.publish_async(title)
        return title

    async def titles_async(self):
        yield self.title

    def lines(self):
        yield self.title

    def _internal(self):
        pass

    @property
    def headline(self):
        raise AssertionError("a property was run")

    @cached_property
    def summary(self):
        raise AssertionError("a property was run")

    @classmethod
    def rebuild(cls, number=1):
        diary.write("rebuild", cls.__name__, number)

    @staticmethod
    def ping(host):
        diary.write("ping", host)

    @handle_asynchronously
    def bare(self, *args, **kwargs):
        diary.write("bare", self.pk, args, kwargs)

    @handle_asynchronously(priority=20, queue="index", run_at=lambda post: post.publish_at)
    def reindex(self, depth=1):
        """Bring the search index up to date."""
        diary.write("reindex", self.pk, depth)
        return depth

    @handle_asynchronously(queue="stale")
    @classmethod
    def rebuild_later(cls, number=1):
        diary.write("rebuild_later", cls.__name__, number)

    @handle_asynchronously()
    @staticmethod
    def ping_later(host):
        diary.write("ping_later", host)

    @handle_asynchronously(max_attempts=1, max_run_time=10)
    def fragile(self):
        diary.write("fragile", self.pk)

    @handle_asynchronously
    def share(self):
        diary.write("share of Post", self.pk)

    def count(self):
        diary.write("count of Post")


class Fancy(Post):
    """Multi-table inheritance, with plain and decorated overrides."""

    extra = models.CharField(max_length=100, default="")

    @handle_asynchronously
    def reindex(self, depth=1):
        diary.write("reindex of Fancy", self.pk, depth)
        super().reindex.now(depth + 1)

    @handle_asynchronously
    @classmethod
    def rebuild_later(cls, number=1):
        super().rebuild_later.now(number + 1)

    def share(self):
        diary.write("share of Fancy", self.pk)
        super().share()

    def count(self):
        diary.write("count of Fancy")


class Draft(Post):
    class Meta:
        proxy = True


class Token(DelayMixin, models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    def use(self):
        diary.write("use", self.pk)


class Word(models.Model):
    text = models.CharField(primary_key=True, max_length=200)

    def spell(self):
        diary.write("spell", self.pk)


class SealedField(models.CharField):
    """Opens its values when they are read, as a field does that a key server has encrypted."""

    @staticmethod
    def open(value):
        return value.removeprefix("sealed ")

    def from_db_value(self, value, expression, connection):
        return self.open(value)


class Letter(DelayMixin, models.Model):
    text = SealedField(max_length=200, default="sealed text")

    def read(self, *others):
        diary.write("read", self.text)


class Remark(DelayMixin, models.Model):
    """Is deleted with its post."""

    post = models.ForeignKey(Post, models.CASCADE)

    def count(self):
        diary.write("count", self.pk)


def saved(method):
    """A decorator as in many projects: it saves the instance after the call."""

    @functools.wraps(method)
    def save(self, *args, **kwargs):
        result = method(self, *args, **kwargs)
        self.save()
        return result

    save.mark = "saves"
    return save


class Order(DelayMixin, models.Model):
    """Its state is a field of django-fsm-2."""

    state = FSMField(default="new")

    @handle_asynchronously(queue="orders")
    @saved
    @transition(field="state", source="new", target="paid", conditions=[lambda order: order.pk != 13])
    def pay(self, amount=5):
        """Take the money."""
        diary.write("pay", self.pk, amount)

    @handle_asynchronously
    @transition(field=state, source="paid", target="shipped", permission=lambda order, user: user.is_staff)
    def ship(self):
        diary.write("ship", self.pk)

    @transition(field="state", source="*", target="cancelled")
    def cancel(self):
        diary.write("cancel", self.pk)


class Code:
    """A primary key of a type of its own, which has no useful str()."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Code) and self.number == other.number

    def __hash__(self):
        return hash(self.number)


class CodeField(models.BigAutoField):
    """Has keys like "T-7", as HashidField has keys like "Xk9"."""

    def from_db_value(self, value, expression, connection):
        return None if value is None else Code(value)

    def to_python(self, value):
        return Code(int(value.removeprefix("T-"))) if isinstance(value, str) else value

    def get_prep_value(self, value):
        return value.number if isinstance(value, Code) else super().get_prep_value(value)

    def value_to_string(self, obj):
        return f"T-{self.value_from_object(obj).number}"


class SilentCodeField(CodeField):
    def value_to_string(self, obj):
        return "a code"


class Ticket(DelayMixin, models.Model):
    id = CodeField(primary_key=True)

    def use(self, *others):
        diary.write("use", self.pk, others)


class Season(Ticket):
    """Has the key of its parent."""


class Refund(Ticket):
    ticket = models.OneToOneField(Ticket, models.CASCADE, primary_key=True, parent_link=True)


class Seat(models.Model):
    """A part of its key has a type of its own."""

    pk = models.CompositePrimaryKey("ticket", "number")
    ticket = models.ForeignKey(Ticket, models.CASCADE)
    number = models.IntegerField()


class Silent(DelayMixin, models.Model):
    id = SilentCodeField(primary_key=True)


class Passage(models.Model):
    """Its key has two columns."""

    pk = models.CompositePrimaryKey("chapter", "verse")
    chapter = models.IntegerField()
    verse = models.IntegerField()
