from django.contrib import admin

from ..models import Turn
from .base import ReadOnlyAdmin


@admin.register(Turn)
class TurnAdmin(ReadOnlyAdmin):
    list_display = ["kind", "held_until", "ended_at"]
    fields = ["kind", "held_until", "ended_at", "wanted"]
