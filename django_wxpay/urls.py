app_name = "django_wxpay"

urlpatterns = []
