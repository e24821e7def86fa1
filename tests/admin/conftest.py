import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from django_wxpay.models import Operation


class Page:
    """An answer of the admin as a person reads it."""

    def __init__(self, answer):
        self.answer = answer
        self.status_code = answer.status_code
        self.html = answer.content.decode()

    @property
    def text(self):
        """Its words, without markup, in one line."""
        words = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", self.html, flags=re.S)
        return " ".join(words.replace("&#x27;", "'").replace("&quot;", '"').split())

    @property
    def token(self):
        found = re.search(r'name="token" value="([^"]+)"', self.html)
        return found and found[1]

    @property
    def asks_to_confirm(self):
        """Whether what was filled in is shown once more, under a button that does it."""
        return "wxpay-confirming" in self.html

    @property
    def button(self):
        """The words on its button."""
        found = re.search(r'<button type="submit" class="button wxpay-button[^>]*>([^<]*)<', self.html)
        return found and found[1].strip()

    @property
    def errors(self):
        """{field: words}: what is wrong, and with which field of its form; "" is with none of them."""
        rows = re.findall(r'form-row errors field-(\w+)">(.*?)</ul>', self.html, re.S)
        found = {name: " ".join(re.sub("<[^>]+>", " ", row).split()) for name, row in rows}
        above = re.search(r'wxpay-notice-error" role="alert"><p>(.*?)</p>', self.html)
        return found | ({"": above[1]} if above else {})

    @property
    def links(self):
        """The addresses behind the tools on top of the page."""
        tools = re.search(r'<ul class="object-tools">(.*?)</ul>', self.html, re.S)
        return re.findall(r'href="([^"]+)"', tools[1]) if tools else []


class Staff:
    """A person at the admin."""

    def __init__(self, user):
        self.user = user
        self.browser = Client()
        self.browser.force_login(user)

    def url(self, name, *args):
        return reverse(f"admin:django_wxpay_{name}", args=args)

    def get(self, name, /, *args, **query):
        return Page(self.browser.get(self.url(name, *args), query))

    def post(self, name, /, *args, follow=True, **fields):
        return Page(self.browser.post(self.url(name, *args), fields, follow=follow))

    def fill(self, name, /, *args, **fields):
        """Open the page that asks first and fill it in. Returns what follows: what asks to confirm, or the end."""
        return self.post(name, *args, token=self.get(name, *args).token, **fields)

    def confirm(self, name, /, *args, **fields):
        """Open the page that asks first, fill it in, confirm. Returns the page where that ends."""
        page = self.fill(name, *args, **fields)
        return self.post(name, *args, token=page.token, **fields) if page.asks_to_confirm else page

    def choose(self, model, action, rows, **extra):
        """Run a list's action on rows. Returns the page that asks first."""
        fields = {"action": action, "_selected_action": [row.pk for row in rows], **extra}
        return self.post(f"{model}_changelist", **fields)


@pytest.fixture
def staff(db):
    """Make a person of the staff: `staff("view_order", "refund_order")`; "everything" for a superuser."""

    def make(*permissions, name="sam"):
        user = get_user_model().objects.create_user(name, password="-", is_staff=True)
        if permissions == ("everything",):
            user.is_superuser = True
            user.save()
        else:
            found = Permission.objects.filter(content_type__app_label="django_wxpay", codename__in=permissions)
            assert found.count() == len(permissions)
            user.user_permissions.set(found)
        return Staff(user)

    return make


VIEW_ALL = [
    f"view_{model}"
    for model in (
        "contract", "order", "refund", "operation", "notification", "transition", "discrepancy",
        "platformcertificate", "merchantstate", "payscoreplan", "signplan", "serviceorder",
    )
]  # fmt: skip


@pytest.fixture
def viewer(staff):
    """Somebody who may see everything and do nothing."""
    return staff(*VIEW_ALL, name="vera")


@pytest.fixture
def boss(staff):
    return staff("everything", name="bo")


@pytest.fixture
def last_operation():
    return lambda: Operation.objects.order_by("-pk").first()
