from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from django_delayed.urls import metrics_urls

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("jobs/", include("django_delayed.urls")),
    path("jobs/", include(metrics_urls)),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
