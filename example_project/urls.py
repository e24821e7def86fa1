from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("wxpay/", include("django_wxpay.urls")),
    path("", include("example_project.shop.urls")),
]
