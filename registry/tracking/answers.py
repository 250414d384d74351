"""MLflow's many errors as the two that a mirror knows."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from registry.tracking.connection import SIGN_IN, import_mlflow, without_credentials
from ssl_core.errors import SplatsweepError


class UnreachableError(Exception):
    """Not now: nobody answers, or with an error of its own, or not to us. The text names a remedy; try again later."""


class RefusedError(Exception):
    """Not as things are: the server understood the request and says that it will not do, or that no such run exists."""


_NEVER = (
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST",
    "NOT_FOUND",
)  # fmt: skip
_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")


@contextmanager
def answers() -> Iterator[None]:
    """What MLflow raises in the block leaves as one of the two."""
    mlflow_error = import_mlflow().MlflowException
    try:
        yield
    except mlflow_error as error:
        text, code = _brief(error), getattr(error, "error_code", "")
        if code in _NEVER:
            raise RefusedError(text) from None
        raise UnreachableError(f"{text}; {SIGN_IN}" if code in _DENIED else text) from None
    except requests.HTTPError as error:  # of artifacts, which MLflow lets through as it is
        status = 0 if error.response is None else error.response.status_code
        if status in (400, 409, 413, 422):
            raise RefusedError(_brief(error)) from None
        raise UnreachableError(f"{_brief(error)}; {SIGN_IN}" if status in (401, 403) else _brief(error)) from None
    except (SplatsweepError, OSError) as error:
        raise UnreachableError(_brief(error)) from None


def _brief(error: BaseException) -> str:
    return without_credentials(" ".join(str(error).split())[:400])
