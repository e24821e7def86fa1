from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WxpayConfig(AppConfig):
    name = "django_wxpay"
    verbose_name = _("WeChat Pay")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from . import checks, services  # noqa: F401  (both register what they hold)
        from .engine import registry

        registry.check()
