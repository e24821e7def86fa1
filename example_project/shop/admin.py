from django.contrib import admin

from .models import Membership


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):
    list_display = ["__str__", "user", "began_at", "paid_until", "ended_at"]
    list_filter = ["plan_key", "began_at"]
    search_fields = ["user__username", "user__first_name", "contract__out_contract_code"]
    list_select_related = ["user"]

    def has_add_permission(self, request):
        return False  # members choose and sign themselves

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False
