from django.urls import path

from . import till, views

app_name = "shop"

urlpatterns = [
    path("", views.home, name="home"),
    path("join/<slug:key>/", views.join, name="join"),
    path("member/", views.member, name="member"),
    path("member/terminate/<int:pk>/", views.terminate, name="terminate"),
    path("till/", till.till, name="till"),
    path("till/<str:out_trade_no>/", till.till_order, name="till_order"),
    path("leave/", views.leave, name="leave"),
]
