"""When Celery beat does what: BEAT_SCHEDULE, ready to merge into your CELERY_BEAT_SCHEDULE.

A module of its own without imports, so that settings can read it: `from django_wxpay.beat import BEAT_SCHEDULE`.
"""


def _every(seconds, task):
    # Who waited for longer than a tick is dropped: the next one does the same. Some schedulers lose this; then
    # `engine.turns` makes such a tick return at once.
    return {
        "task": f"django_wxpay.tasks.{task}",
        "schedule": float(seconds),
        "options": {"expires": float(seconds)},
    }


BEAT_SCHEDULE = {
    "wxpay: send operations": _every(5, "send_operations"),
    "wxpay: deliver transitions": _every(5, "deliver_transitions"),
    "wxpay: poll orders": _every(5, "poll_orders"),
    "wxpay: poll contracts": _every(10, "poll_contracts"),
    "wxpay: poll refunds": _every(30, "poll_refunds"),
    "wxpay: poll PayScore plans": _every(60, "poll_payscore_plans"),
    "wxpay: poll combined orders": _every(10, "poll_combine_orders"),
    "wxpay: poll payees": _every(10, "poll_payees"),
    "wxpay: poll sign plans": _every(10, "poll_sign_plans"),
    "wxpay: poll service orders": _every(10, "poll_service_orders"),
    "wxpay: close expired orders": _every(60, "close_expired_orders"),
    "wxpay: retry notifications": _every(15, "retry_notifications"),
    "wxpay: refresh certificates": _every(600, "refresh_certificates"),
    "wxpay: download bills": _every(900, "download_due_bills"),
    "wxpay: fetch settlements": _every(3600, "fetch_settlements"),
    "wxpay: watch open rows": _every(3600, "watch_open_rows"),
    "wxpay: prune notifications": _every(3600, "prune_notifications"),
}
