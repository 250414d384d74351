"""The part of KubeRay's resources (ray.io/v1) and of Kubernetes' pods that deploy/kuberay uses, strictly.

Written from KubeRay's field reference (1.6) and the Kubernetes API reference.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
PortName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,15}$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: Name


class SecretRef(Strict):
    name: Name


class EnvFrom(Strict):
    secretRef: SecretRef  # noqa: N815


class Env(Strict):
    name: str
    value: str


class ContainerPort(Strict):
    containerPort: Annotated[int, Field(gt=0, lt=65536)]  # noqa: N815
    name: PortName


class ContainerResources(Strict):
    requests: dict[str, Quantity]
    limits: dict[str, Quantity]


class VolumeMount(Strict):
    name: Name
    mountPath: str  # noqa: N815


class Container(Strict):
    name: Name
    image: str
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"]  # noqa: N815
    ports: list[ContainerPort] = []
    env: list[Env]
    envFrom: list[EnvFrom]  # noqa: N815
    resources: ContainerResources
    volumeMounts: list[VolumeMount]  # noqa: N815


class Claim(Strict):
    claimName: Name  # noqa: N815


class EmptyDir(Strict):
    medium: Literal["Memory"] | None = None
    sizeLimit: Quantity | None = None  # noqa: N815


class Volume(Strict):
    name: Name
    persistentVolumeClaim: Claim | None = None  # noqa: N815
    emptyDir: EmptyDir | None = None  # noqa: N815


class PodSecurity(Strict):
    runAsNonRoot: bool  # noqa: N815
    runAsUser: int  # noqa: N815
    fsGroup: int  # noqa: N815


class PodSpec(Strict):
    securityContext: PodSecurity  # noqa: N815
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume]

    @model_validator(mode="after")
    def _mounts_exist(self) -> "PodSpec":
        there = {volume.name for volume in self.volumes}
        wanted = {mount.name for container in self.containers for mount in container.volumeMounts}
        assert wanted <= there, wanted - there
        return self


class PodTemplate(Strict):
    spec: PodSpec


class HeadGroup(Strict):
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"]  # noqa: N815
    rayStartParams: dict[str, str]  # noqa: N815
    template: PodTemplate


class WorkerGroup(Strict):
    groupName: Name  # noqa: N815
    replicas: Annotated[int, Field(ge=0)]
    minReplicas: Annotated[int, Field(ge=0)]  # noqa: N815
    maxReplicas: Annotated[int, Field(ge=1)]  # noqa: N815
    rayStartParams: dict[str, str]  # noqa: N815
    template: PodTemplate

    @model_validator(mode="after")
    def _in_order(self) -> "WorkerGroup":
        assert self.minReplicas <= self.replicas <= self.maxReplicas
        return self


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]
    secretName: Name  # noqa: N815


class RayClusterSpec(Strict):
    rayVersion: str  # noqa: N815
    authOptions: AuthOptions  # noqa: N815
    headGroupSpec: HeadGroup  # noqa: N815
    workerGroupSpecs: list[WorkerGroup]  # noqa: N815


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]  # noqa: N815
    backoffLimit: Annotated[int, Field(ge=0)]  # noqa: N815
    shutdownAfterJobFinishes: bool  # noqa: N815
    ttlSecondsAfterFinished: Annotated[int, Field(ge=0)]  # noqa: N815
    rayClusterSpec: RayClusterSpec  # noqa: N815


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class ClaimRequest(Strict):
    requests: dict[Literal["storage"], Quantity]


class ClaimSpec(Strict):
    accessModes: list[Literal["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"]]  # noqa: N815
    resources: ClaimRequest


class VolumeClaim(Strict):
    apiVersion: Literal["v1"]  # noqa: N815
    kind: Literal["PersistentVolumeClaim"]
    metadata: Metadata
    spec: ClaimSpec


SHAPES: dict[str, type[Strict]] = {"RayCluster": RayCluster, "RayJob": RayJob, "PersistentVolumeClaim": VolumeClaim}
