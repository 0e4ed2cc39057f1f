"""The volume by which containers reach the API: token, certificate of the cluster, namespace. Pure.

Source: k8s.io/kubernetes plugin/pkg/admission/serviceaccount, which names and fills it so.
"""

from __future__ import annotations

from common.api.types.core_v1 import (
    ConfigMapProjection,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    ObjectFieldSelector,
    Pod,
    ProjectedVolumeSource,
    ServiceAccount,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)

PREFIX = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
SECONDS = 3607
"""As Kubernetes asks for: by it, it knows pods that have not asked themselves."""
MODE = 0o644
ROOT_CA = "kube-root-ca.crt"


def is_wanted(pod: Pod, account: ServiceAccount) -> bool:
    """Whether a pod gets the volume: it decides, or else its account; without a word it does."""
    for said in (pod.spec.automountServiceAccountToken, account.automountServiceAccountToken):
        if said is not None:
            return said
    return True


def mount(pod: Pod, suffix: str) -> None:
    """Give the volume to every container that has nothing at its place."""
    spec = pod.spec
    names = [volume.name for volume in spec.volumes if volume.name.startswith(PREFIX)]
    name = names[0] if names else PREFIX + suffix
    without = [
        container
        for container in (*spec.initContainers, *spec.containers)
        if all(one.mountPath != MOUNT_PATH for one in container.volumeMounts)
    ]
    for container in without:
        added = VolumeMount(name=name, readOnly=True, mountPath=MOUNT_PATH)
        container.volumeMounts = (*container.volumeMounts, added)
    if without and not names:
        spec.volumes = (*spec.volumes, Volume(name=name, projected=_source()))


def _source() -> ProjectedVolumeSource:
    token = ServiceAccountTokenProjection(expirationSeconds=SECONDS, path="token")
    certificate = ConfigMapProjection(name=ROOT_CA, items=(KeyToPath(key="ca.crt", path="ca.crt"),))
    field = ObjectFieldSelector(apiVersion="v1", fieldPath="metadata.namespace")
    namespace = DownwardAPIProjection(
        items=(DownwardAPIVolumeFile(path="namespace", fieldRef=field),)
    )
    return ProjectedVolumeSource(
        sources=(
            VolumeProjection(serviceAccountToken=token),
            VolumeProjection(configMap=certificate),
            VolumeProjection(downwardAPI=namespace),
        ),
        defaultMode=MODE,
    )
