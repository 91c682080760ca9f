"""What the shop says and what is said back: posts, the accounts they are announced on, comments."""

from django.db import models
from django.utils import timezone
from django_delayed import DelayMixin

from shop import twitter
from shop.spam import SpamFilter


class SocialAccount(models.Model):
    name = models.CharField(max_length=50, unique=True)
    api_url = models.URLField()
    access_token = models.CharField(max_length=200)

    def __str__(self):
        return self.name


class Post(DelayMixin, models.Model):
    account = models.ForeignKey(SocialAccount, models.PROTECT, related_name="posts")
    title = models.CharField(max_length=200)
    slug = models.SlugField(unique=True)
    body = models.TextField()
    published_at = models.DateTimeField(null=True, blank=True)
    tweet_id = models.CharField(max_length=40, blank=True, editable=False)

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return f"/posts/{self.slug}/"

    def publish(self):
        if self.published_at is None:
            self.published_at = timezone.now()
            self.save(update_fields=["published_at"])

    def send_to_twitter(self):
        """Announce the post. The answer's id is kept, so that a second attempt does not announce it twice."""
        if not self.tweet_id:
            status = f"{self.title} https://shop.example{self.get_absolute_url()}"
            self.tweet_id = twitter.update(self.account.api_url, self.account.access_token, status)
            self.save(update_fields=["tweet_id"])


class Comment(models.Model):
    class State(models.TextChoices):
        PENDING = "pending"
        PUBLISHED = "published"
        SPAM = "spam"

    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")
    author = models.CharField(max_length=100)
    body = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    moderated = models.BooleanField("moderated by a person", default=False)
    spam_score = models.FloatField(null=True, editable=False)

    def __str__(self):
        return f"{self.author} on {self.post}"

    def check_for_spam(self):
        """Publish the comment or put it with the spam, as people did with the comments most like it."""
        verdicts = Comment.objects.filter(moderated=True).values_list("body", "state")
        spam_filter = SpamFilter((body, state == self.State.SPAM) for body, state in verdicts)
        self.spam_score = spam_filter.probability(self.body)
        self.state = self.State.SPAM if self.spam_score > 0.9 else self.State.PUBLISHED
        self.save(update_fields=["spam_score", "state"])
