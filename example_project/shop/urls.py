from django.urls import path

from . import lessons, mini, stalls, till, views

app_name = "shop"

urlpatterns = [
    path("", views.home, name="home"),
    path("join/<slug:key>/", views.join, name="join"),
    path("member/", views.member, name="member"),
    path("member/terminate/<int:pk>/", views.terminate, name="terminate"),
    path("courses/", lessons.courses, name="courses"),
    path("courses/sign-up/<slug:key>/", lessons.sign_up, name="sign_up"),
    path("trainer/", lessons.trainer, name="trainer"),
    path("trainer/<str:number>/<str:deed>/", lessons.lesson, name="lesson"),
    path("market/", stalls.market, name="market"),
    path("market/sell/", stalls.sell, name="market_sell"),
    path("market/buy/", stalls.buy, name="market_buy"),
    path("market/pay/<str:number>/", stalls.pay, name="market_pay"),
    path("till/", till.till, name="till"),
    path("till/<str:out_trade_no>/", till.till_order, name="till_order"),
    path("mini/login/", mini.login, name="mini_login"),
    path("mini/offers/", mini.offers, name="mini_offers"),
    path("leave/", views.leave, name="leave"),
]
