from django.contrib import admin, messages
from django.db.models import URLField
from django.utils.html import format_html
from django_delayed.admin import DelayedJobsMixin
from django_delayed.urls import progress_url

from shop import models
from shop.jobs import ImportProductsJob

HTTPS = {URLField: {"assume_scheme": "https"}}  # the default from Django 6.0 on; 5.2 warns of the change


@admin.register(models.Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["sku", "name", "vendor", "category", "price", "stock"]
    list_filter = ["category", "vendor"]
    search_fields = ["sku", "name"]


class CollectionRuleInline(admin.TabularInline):
    model = models.CollectionRule
    extra = 1


@admin.register(models.SmartCollection)
class SmartCollectionAdmin(admin.ModelAdmin):
    inlines = [CollectionRuleInline]


class OrderLineInline(admin.TabularInline):
    model = models.OrderLine
    raw_id_fields = ["product"]
    extra = 0


@admin.register(models.Order)
class OrderAdmin(DelayedJobsMixin, admin.ModelAdmin):
    list_display = ["__str__", "state", "placed_at", "total"]
    list_filter = ["state"]
    inlines = [OrderLineInline]


@admin.register(models.Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ["name", "email", "subscribed"]
    list_filter = ["subscribed"]
    search_fields = ["name", "email"]


@admin.register(models.Newsletter)
class NewsletterAdmin(DelayedJobsMixin, admin.ModelAdmin):
    list_display = ["subject", "sent_at"]


@admin.register(models.Supplier)
class SupplierAdmin(DelayedJobsMixin, admin.ModelAdmin):
    formfield_overrides = HTTPS
    list_display = ["name", "url", "imported_at"]
    readonly_fields = ["imported_at", "import_report"]
    actions = ["import_feed"]

    @admin.action(description="Import the feed", permissions=["change"])
    def import_feed(self, request, queryset):
        for supplier in queryset:
            row = ImportProductsJob.perform_later(supplier)
            said = '{} will be imported. <a href="{}">See how far it is</a>.'
            messages.info(request, format_html(said, supplier, progress_url(row)))


@admin.register(models.Download)
class DownloadAdmin(admin.ModelAdmin):
    list_display = ["path", "supplier", "size", "fetched_at"]
    readonly_fields = ["file", "etag", "size", "fetched_at"]


@admin.register(models.SocialAccount)
class SocialAccountAdmin(admin.ModelAdmin):
    formfield_overrides = HTTPS
    list_display = ["name", "api_url"]


@admin.register(models.Post)
class PostAdmin(DelayedJobsMixin, admin.ModelAdmin):
    list_display = ["title", "account", "published_at", "tweet_id"]


@admin.register(models.Comment)
class CommentAdmin(admin.ModelAdmin):
    list_display = ["author", "post", "state", "spam_score", "moderated"]
    list_filter = ["state", "moderated"]
