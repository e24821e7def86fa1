from django.core.management.base import BaseCommand

from example_project.shop import course


class Command(BaseCommand):
    help = "Create the tea course's plan at WeChat Pay, unless it is there."

    def handle(self, **options):
        plan = course.create()
        self.stdout.write(f"Plan {plan.merchant_plan_no} is {plan.state}.")
