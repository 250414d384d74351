"""MLflow's webhook for new model versions: made once, brought up to date afterwards."""

from typing import Any

from registry.connection import explained, import_mlflow
from registry.service.webhook_signature import SECRET_VARIABLE
from registry.tracking.run_log import RunLog
from ssl_core.errors import ConfigError, RegistryError

NAME = "splatsweep-watch"
EVENT = "model_version.created"
_REMEDY = (
    "MLflow takes https addresses of public machines; for a watcher nearby start the server with "
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true"
)


def register_webhook(log: RunLog, url: str, secret: str | None) -> bool:
    """Have the server tell `url` of every new version, signed with `secret`. True if the webhook is new.

    The server needs MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY (a Fernet key) of its own: without one it cannot read the
    secret again after a restart.

    Raises:
        ConfigError: there is no secret, or the registry is an embedded one, which tells nobody.
        RegistryError: the server does not take the address or has no webhooks.
    """
    if secret is None:
        raise ConfigError(f"a webhook needs a secret; set {SECRET_VARIABLE}, for example to `openssl rand -hex 32`")
    if not log.tracking_uri.startswith(("http://", "https://")):
        raise ConfigError(
            "webhooks are sent by an MLflow server, and this registry is embedded; set MLFLOW_TRACKING_URI, "
            "or leave --register-webhook out: watch polls"
        )
    import_mlflow()
    from mlflow.entities.webhook import WebhookStatus
    from mlflow.exceptions import MlflowException

    try:
        known = _known(log, url)
        if known is None:
            with explained("creating the webhook"):
                log.client.create_webhook(NAME, url, [EVENT], "tells splatsweep watch of new versions", secret)
            return True
        with explained("renewing the webhook"):
            log.client.update_webhook(known, events=[EVENT], secret=secret, status=WebhookStatus.ACTIVE)
        return False
    except RegistryError as error:
        if isinstance(error.__cause__, MlflowException) and "webhook" in str(error.__cause__).lower():
            raise RegistryError(f"{error}; {_REMEDY}") from error
        raise


def _known(log: RunLog, url: str) -> str | None:
    """Id of the webhook we made for this address earlier."""
    token: str | None = None
    while True:
        with explained("listing webhooks"):
            page: Any = log.client.list_webhooks(page_token=token)
        for webhook in page:
            if (webhook.name, webhook.url) == (NAME, url):
                return str(webhook.webhook_id)
        token = page.token
        if not token:
            return None
