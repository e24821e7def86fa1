from django.conf import settings


def is_sandbox():
    """Whether WeChat Pay is played by the sandbox here."""
    return settings.WXPAY["MERCHANTS"].get("default", {}).get("HOST") == settings.SANDBOX_URL


def sandbox(request):
    """Where the demo's footer finds the customer's phone."""
    return {"sandbox_url": f"{settings.SANDBOX_URL}/_sandbox/"}
