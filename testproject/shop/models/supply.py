"""Where goods come from: suppliers, and the files they offer for download."""

from urllib.parse import urljoin

from django.db import models


class Supplier(models.Model):
    name = models.CharField(max_length=100, unique=True)
    url = models.URLField(help_text="Where the supplier's server is; feed and files are below it.")
    feed_path = models.CharField(max_length=200, default="feed.csv")
    buyer = models.EmailField(help_text="Who hears what an import did.")
    imported_at = models.DateTimeField(null=True, editable=False)
    import_report = models.TextField(editable=False, blank=True)

    def __str__(self):
        return self.name

    @property
    def feed_url(self):
        return urljoin(self.url, self.feed_path)


class Download(models.Model):
    """A file of a supplier, and our copy of it."""

    supplier = models.ForeignKey(Supplier, models.CASCADE, related_name="downloads")
    path = models.CharField(max_length=200)
    file = models.FileField(upload_to="downloads", editable=False)
    etag = models.CharField(max_length=100, editable=False)
    size = models.PositiveBigIntegerField(null=True, editable=False)
    fetched_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["supplier", "path"], name="one_download_a_path")]

    def __str__(self):
        return self.path

    @property
    def url(self):
        return urljoin(self.supplier.url, self.path)
