import pickle

import pytest

from django_wxpay.client import errors


def test_every_error_of_ours_is_a_wxpay_error_and_none_is_misconfiguration():
    ours = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(ours) == 14
    assert all(issubclass(error, errors.WxPayError) for error in ours)


def test_the_tree_in_the_docstring_names_every_class_that_there_is():
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in errors.__doc__


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidField("x"), errors.RequestNotSent),
        (errors.InvalidField("x"), ValueError),
        (errors.NotFound("x"), errors.APIError),
        (errors.NoStatement("x"), errors.NotFound),
        (errors.RateLimited("x"), errors.APIError),
        (errors.SetupError("x"), errors.APIError),
    ],
)
def test_a_special_error_is_caught_as_its_general_one(error, kind):
    assert isinstance(error, kind)


@pytest.mark.parametrize("error", [errors.APIError, errors.OutcomeUnknown])
def test_codes_are_compared_without_underscores_and_case(error):
    refusal = error("no such order", code="ORDERNOTEXIST")
    assert refusal.means("ORDER_NOT_EXIST")
    assert refusal.means("SYSTEM_ERROR", "order_not_exist")
    assert not refusal.means("ORDER_PAID")


def test_an_api_error_says_code_message_status_and_request_id_but_not_the_detail():
    error = errors.APIError(
        "too little", code="NOT_ENOUGH", status=403, request_id="08F0-1", detail={"value": "o-openid"}
    )
    assert str(error) == "NOT_ENOUGH: too little (HTTP 403, unsigned, request id 08F0-1)"
    assert "o-openid" not in repr(error)


def test_errors_survive_a_trip_to_another_process():
    sent = errors.RateLimited("slow", retry_after=2, code="RATELIMIT_EXCEEDED", status=429, verified=True)
    back = pickle.loads(pickle.dumps(sent))
    assert (back.retry_after, back.code, back.status, back.verified, str(back)) == (
        2,
        "RATELIMIT_EXCEEDED",
        429,
        True,
        str(sent),
    )
