from django.core.management.base import BaseCommand, CommandError

from ...services import notifications


class Command(BaseCommand):
    help = "Delete processed notifications older than NOTIFICATION_KEPT_DAYS. Transitions and operations stay."

    def add_arguments(self, parser):
        parser.add_argument("--days", type=int, help="another age than the setting's")

    def handle(self, *args, days, **options):
        if days is not None and days < 1:
            raise CommandError("--days must be at least 1.")
        self.stdout.write(f"{notifications.prune(days)} deleted.")
