from django.conf import settings


def sandbox(request):
    """Where the demo's footer finds the customer's phone."""
    return {"sandbox_url": f"{settings.SANDBOX_URL}/_sandbox/"}
