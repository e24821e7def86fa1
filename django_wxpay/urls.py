"""Include these under the path of `WXPAY["NOTIFY_URL_BASE"]` without its last part, `notify/`."""

from django.urls import include, path

from .api.notifications import NotificationView

app_name = "django_wxpay"

urlpatterns = [
    path("notify/<slug:merchant>/", NotificationView.as_view(), name="notify"),
    # The address for terminations is registered by hand, and a redirect would count as a failure.
    path("notify/<slug:merchant>", NotificationView.as_view()),
    path("", include("django_wxpay.api.urls")),
]
