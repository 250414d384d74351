"""Deliveries as MLflow signs them are taken once; anything else is refused, whatever it is."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.webhooks.delivery import _generate_hmac_signature

from registry.service.webhook_signature import (
    AHEAD_SECONDS,
    MAX_AGE_SECONDS,
    Deliveries,
    DeliveryRefusedError,
    sign,
    webhook_secret,
)
from ssl_core.errors import ConfigError

SECRET = "0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000.0


def headers(payload: bytes, *, secret: str = SECRET, delivery: str = "d1", sent: float = NOW) -> dict[str, str]:
    stamp = str(int(sent))
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": sign(secret, delivery, stamp, payload),
    }


def deliveries(now: float = NOW, since: float = 0.0) -> Deliveries:
    return Deliveries(SECRET, since=since, clock=lambda: now)


def refused(gate: Deliveries, given_headers: dict[str, str], payload: bytes) -> int:
    with pytest.raises(DeliveryRefusedError) as error:
        gate.check(given_headers, payload)
    return error.value.status


@given(secret=st.text(min_size=16, max_size=64), delivery=st.uuids(), stamp=st.integers(0, 10**11), payload=st.text())
def test_the_signature_is_mlflows(secret, delivery, stamp, payload):
    try:
        secret.encode(), payload.encode()
    except UnicodeEncodeError:
        return
    theirs = _generate_hmac_signature(secret, str(delivery), str(stamp), payload)
    assert sign(secret, str(delivery), str(stamp), payload.encode()) == theirs


def test_a_true_delivery_is_taken_once():
    gate = deliveries()
    gate.check(headers(b"{}"), b"{}")
    assert refused(gate, headers(b"{}"), b"{}") == 409
    gate.check(headers(b"{}", delivery="d2"), b"{}")


@settings(max_examples=200)
@given(
    place=st.integers(0, 10**6),
    change=st.integers(1, 255),
    which=st.sampled_from(["payload", *headers(b"")]),
    on=st.data(),
)
def test_any_changed_byte_is_refused(place, change, which, on):
    payload = on.draw(st.binary(min_size=1, max_size=50))
    given_headers = headers(payload)
    text = payload if which == "payload" else given_headers[which].encode()
    place %= len(text)
    changed = text[:place] + bytes([text[place] ^ change]) + text[place + 1 :]
    if which == "payload":
        payload = changed
    else:
        given_headers[which] = changed.decode("latin-1")
    assert refused(deliveries(), given_headers, payload) in (400, 401)


@given(values=st.lists(st.text(max_size=40), min_size=3, max_size=3), payload=st.binary(max_size=40))
def test_whatever_comes_is_refused_and_never_an_error_of_ours(values, payload):
    assert refused(deliveries(), dict(zip(headers(b""), values, strict=True)), payload) in (400, 401)
    assert refused(deliveries(), {}, payload) == 400


def test_another_secret_is_refused():
    assert refused(deliveries(), headers(b"{}", secret="another-secret-of-some-length"), b"{}") == 401


@pytest.mark.parametrize(
    ("age", "taken"),
    [
        (0, True),
        (MAX_AGE_SECONDS, True),
        (MAX_AGE_SECONDS + 1, False),
        (-AHEAD_SECONDS, True),
        (-AHEAD_SECONDS - 2, False),
    ],
)
def test_the_time_is_now(age, taken):
    payload, given_headers = b"{}", headers(b"{}", sent=NOW - age)
    if taken:
        deliveries().check(given_headers, payload)
    else:
        assert refused(deliveries(), given_headers, payload) == 401


def test_a_recorded_delivery_does_not_reach_the_next_listener():
    recorded = headers(b"{}", sent=NOW - 10)
    deliveries(NOW - 10).check(recorded, b"{}")
    assert refused(deliveries(NOW, since=NOW - 5), recorded, b"{}") == 401


def test_what_is_remembered_is_bounded_by_time():
    now = [NOW]
    gate = Deliveries(SECRET, clock=lambda: now[0])
    for i in range(100):
        now[0] = NOW + 60 * i
        gate.check(headers(b"{}", delivery=f"d{i}", sent=now[0]), b"{}")
    assert len(gate._heard) <= 1 + MAX_AGE_SECONDS / 60
    assert refused(gate, headers(b"{}", delivery="d99", sent=now[0]), b"{}") == 409
    assert refused(gate, headers(b"{}", delivery="d0", sent=NOW), b"{}") == 401


def test_the_secret_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("SPLATSWEEP_WEBHOOK_SECRET", raising=False)
    assert webhook_secret() is None
    monkeypatch.setenv("SPLATSWEEP_WEBHOOK_SECRET", SECRET)
    assert webhook_secret() == SECRET
    monkeypatch.setenv("SPLATSWEEP_WEBHOOK_SECRET", "short")
    with pytest.raises(ConfigError, match="16"):
        webhook_secret()


def test_by_default_the_clock_is_the_machines():
    Deliveries(SECRET).check(headers(b"{}", sent=time.time()), b"{}")
