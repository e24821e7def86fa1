"""A small subscription shop that shows how django_wxpay is used. `make demo` runs it with the sandbox."""

from .celery import app as celery_app

__all__ = ["celery_app"]
