from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management.base import BaseCommand

# What a cashier may, beside signing in.
CASHIER_MAY = ("take_quick_payment", "view_order")


class Command(BaseCommand):
    help = "Make a login for the staff of the example shop, or set its password anew."

    def add_arguments(self, parser):
        parser.add_argument("username")
        parser.add_argument("password")
        parser.add_argument("--cashier", action="store_true", help="One who takes quick payments and sees orders.")

    def handle(self, *, username, password, cashier, **options):
        user, _ = get_user_model().objects.get_or_create(username=username)
        user.is_staff, user.is_superuser = True, not cashier
        user.set_password(password)
        user.save()
        if cashier:
            may = Permission.objects.filter(content_type__app_label="django_wxpay", codename__in=CASHIER_MAY)
            user.user_permissions.set(may)
        self.stdout.write(f"{username} can log in.")
