from django.urls import path

from . import views

app_name = "shop"

urlpatterns = [
    path("", views.home, name="home"),
    path("join/<slug:key>/", views.join, name="join"),
    path("member/", views.member, name="member"),
    path("member/terminate/<int:pk>/", views.terminate, name="terminate"),
    path("leave/", views.leave, name="leave"),
]
