"""A shop's web server: `python -m tests.real.shop [defences to take out]` prints its port, then serves."""

import os
import signal
import sys

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application

THREADS = 10


def main(without):
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from waitress import create_server

    from tests.celery_app import app
    from tests.real import weaken
    from tests.real.world import settings_of_test

    app.set_default()
    settings.WXPAY = settings_of_test()
    weaken.take_out(*without)
    server = create_server(
        get_wsgi_application(), listen="127.0.0.1:0", threads=THREADS, clear_untrusted_proxy_headers=True
    )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    print(server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main(sys.argv[1:])
