"""The part of the Compose specification that deploy/ uses, strictly: unknown keys and wrong types are refused.

Written from the specification's text (compose-spec, chapters 05-services, 07-volumes, 08-configs and deploy).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Duration = Annotated[str, StringConstraints(pattern=r"^\d+(us|ms|s|m|h)$")]
Size = Annotated[str, StringConstraints(pattern=r"^\d+(b|k|kb|m|mb|g|gb)$")]
Variable = Annotated[str, StringConstraints(pattern=r"^\$\{.+\}$")]
Port = Annotated[str, StringConstraints(pattern=r"^([\d.]+:)?(\d+|\$\{[A-Z_]+:-\d+\}):\d+$")]
Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9./_-]+:[\w.-]+$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Strict):
    context: str
    dockerfile: str
    args: dict[str, str] = {}


class Healthcheck(Strict):
    test: list[str]
    interval: Duration
    timeout: Duration
    retries: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _a_command(self) -> "Healthcheck":
        assert self.test[0] == "CMD", "an exec form needs no shell in the image"
        assert len(self.test) > 1
        return self


class Dependency(Strict):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class ConfigMount(Strict):
    source: str
    target: str


class Device(Strict):
    driver: str
    count: Literal["all"] | int
    capabilities: list[str]


class Reservations(Strict):
    devices: list[Device]


class Resources(Strict):
    reservations: Reservations


class Deploy(Strict):
    replicas: int | Variable | None = None
    resources: Resources | None = None


class Service(Strict):
    image: Image | None = None
    build: Build | None = None
    restart: Literal["no", "always", "on-failure", "unless-stopped"] | None = None
    init: bool | None = None
    command: list[str] | None = None
    environment: dict[str, str | int] = {}
    configs: list[ConfigMount] = []
    ports: list[Port] = []
    volumes: list[str] = []
    shm_size: Size | None = None
    deploy: Deploy | None = None
    depends_on: dict[str, Dependency] = {}
    healthcheck: Healthcheck | None = None


class InlineConfig(Strict):
    content: str


class Compose(Strict):
    name: str | None = None
    services: dict[str, Service]
    configs: dict[str, InlineConfig] = {}
    volumes: dict[str, None] = {}

    @model_validator(mode="after")
    def _everything_named_exists(self) -> "Compose":
        for name, service in self.services.items():
            for mount in service.configs:
                assert mount.source in self.configs, f"{name}: config {mount.source}"
            for volume in service.volumes:
                source = volume.split(":")[0]
                assert source in self.volumes or source.startswith("."), f"{name}: volume {source}"
            for needed, how in service.depends_on.items():
                assert needed in self.services, f"{name}: {needed}"
                if how.condition == "service_healthy":
                    assert self.services[needed].healthcheck, f"{name} waits for {needed}, which has no health check"
        return self
