"""Whether a webhook delivery is MLflow's own, of now, and heard for the first time.

MLflow (3.x, `mlflow/webhooks/delivery.py`) sends three headers beside the JSON:

    X-MLflow-Delivery-Id  a UUID, the same when a delivery is tried again
    X-MLflow-Timestamp    seconds since 1970, of the first try
    X-MLflow-Signature    v1,<base64 of HMAC-SHA256(secret, "<delivery id>.<timestamp>.<payload>")>

Only that is accepted. A delivery is a hint to look and nothing more: what it says is never believed, so whoever holds
the secret can wake the watcher and do nothing else.
"""

import base64
import hashlib
import hmac
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping

from ssl_core.errors import ConfigError, RegistryError

ID_HEADER, TIME_HEADER, SIGNATURE_HEADER = "X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"
SECRET_VARIABLE = "SPLATSWEEP_WEBHOOK_SECRET"
MAX_AGE_SECONDS = 300.0
"""MLflow's own retries end after a minute or two."""
AHEAD_SECONDS = 60.0
"""How far the sender's clock may be ahead of ours."""
_LEAST_SECRET = 16
# no dots and digits alone: else one signed text could be cut into id, time and payload in several ways
_ID, _TIME = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[0-9]{1,12}")


class DeliveryRefusedError(RegistryError):
    """A delivery that is not to be acted upon; `status` is the HTTP answer."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def webhook_secret() -> str | None:
    """The secret shared with MLflow, from the environment; None where there is none.

    Raises:
        ConfigError: it is too short to keep anybody out.
    """
    secret = os.environ.get(SECRET_VARIABLE, "")
    if secret and len(secret) < _LEAST_SECRET:
        raise ConfigError(
            f"{SECRET_VARIABLE} has {len(secret)} characters, at least {_LEAST_SECRET} are asked; "
            "make one with `openssl rand -hex 32`"
        )
    return secret or None


def sign(secret: str, delivery_id: str, timestamp: str, payload: bytes) -> str:
    """The value of `X-MLflow-Signature`."""
    signed = f"{delivery_id}.{timestamp}.".encode() + payload
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


class Deliveries:
    """The gatekeeper of one listener. Thread-safe.

    Args:
        secret: shared with MLflow.
        since: seconds since 1970; what was sent before is refused. A watcher gives the moment before its first look at
            the registry, which finds all that was registered earlier: so a recorded delivery cannot be played to
            the next watcher either, and nothing has to be written down.
        clock: seconds since 1970.
    """

    def __init__(self, secret: str, *, since: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._since, self._clock = secret, math.floor(since), clock
        self._heard: dict[str, int] = {}
        self._lock = threading.Lock()

    def check(self, headers: Mapping[str, str], payload: bytes) -> None:
        """Take note of a delivery.

        Args:
            headers: asked for MLflow's three names. payload: the body as it came.

        Raises:
            DeliveryRefusedError: a header is missing or malformed (400), the signature is not the secret's or the time
            is not now (401), or this delivery was heard before (409).
        """
        found = [headers.get(name) or "" for name in (ID_HEADER, TIME_HEADER, SIGNATURE_HEADER)]
        delivery_id, timestamp, signature = found
        if not _ID.fullmatch(delivery_id) or not _TIME.fullmatch(timestamp) or not signature:
            raise DeliveryRefusedError(
                f"a delivery without usable {ID_HEADER}, {TIME_HEADER} and {SIGNATURE_HEADER}; "
                f"give MLflow's webhook the secret in {SECRET_VARIABLE}",
                400,
            )
        expected = sign(self._secret, delivery_id, timestamp, payload)
        # in constant time; as bytes, since a header may hold what is not ASCII
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")):
            raise DeliveryRefusedError(f"a delivery whose signature is not that of {SECRET_VARIABLE}", 401)
        self._take(delivery_id, int(timestamp))

    def _take(self, delivery_id: str, sent: int) -> None:
        now = self._clock()
        if not max(now - MAX_AGE_SECONDS, self._since) <= sent <= now + AHEAD_SECONDS:
            raise DeliveryRefusedError(
                f"a delivery sent {now - sent:.0f} s ago; taken are those of the last {MAX_AGE_SECONDS:.0f} s, "
                "and none from before this listener began: do the clocks agree?",
                401,
            )
        with self._lock:
            # older ones are refused by their time, so only what may come again is kept
            self._heard = {key: time for key, time in self._heard.items() if time >= now - MAX_AGE_SECONDS}
            if delivery_id in self._heard:
                raise DeliveryRefusedError(f"delivery {delivery_id} was heard before", 409)
            self._heard[delivery_id] = sent
