"""Makes an image present before a container is created: pull policies, back-off, and the events that tell of it.

Upstream: pkg/kubelet/images/image_manager.go (EnsureImageExists).
"""

from __future__ import annotations

import asyncio

from kubeglass.components.api.objects import Container, Pod
from kubeglass.components.kubelet.backoff import BackOff
from kubeglass.components.kubelet.metrics import ImageMetrics
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.kubelet.runtime.images import InvalidImageNameError, default_pull_policy
from kubeglass.components.kubelet.runtime.runtime import Image, Runtime, RuntimeCallError
from kubeglass.logging.goduration import duration_text

_SIZES = (
    (10, "0-10MB"), (100, "10MB-100MB"), (500, "100MB-500MB"), (1_000, "500MB-1GB"), (5_000, "1GB-5GB"),
    (10_000, "5GB-10GB"), (20_000, "10GB-20GB"), (30_000, "20GB-30GB"), (40_000, "30GB-40GB"),
    (60_000, "40GB-60GB"), (100_000, "60GB-100GB"),
)  # fmt: skip


class ImageError(Exception):
    """An image that is not there: `reason` is what the container's waiting state says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ImagePuller:
    """Ensures images on one node."""

    def __init__(self, runtime: Runtime, events: PodEvents, metrics: ImageMetrics) -> None:
        self._runtime = runtime
        self._events = events
        self._metrics = metrics
        self._back_off = BackOff()
        self._failures: dict[tuple[str, str], tuple[float, str]] = {}

    async def ensure(self, pod: Pod, container: Container) -> Image:
        """The image of a container. Raises ImageError."""
        image = container.image
        try:
            policy = container.image_pull_policy or default_pull_policy(image)
            present = await self._runtime.image_status(image)
        except InvalidImageNameError as error:
            message = f'Failed to apply default image tag "{image}": {error}'
            self._events.warning(pod, container, "InspectFailed", message)
            self._events.warning(pod, container, "Failed", "Error: InvalidImageName")
            raise ImageError("InvalidImageName", message) from error
        required = policy == "Always" or (policy == "IfNotPresent" and present is None)
        self._metrics.image_manager_ensure_image_requests_total.labels(
            policy.lower(), str(present is not None).lower(), str(required).lower()
        ).inc()
        if not required:
            return self._without_pull(pod, container, present)
        return await self._pull(pod, container)

    def _without_pull(self, pod: Pod, container: Container, present: Image | None) -> Image:
        if present is None:
            message = f'Container image "{container.image}" is not present with pull policy of Never'
            self._events.warning(pod, container, "ErrImageNeverPull", message)
            self._events.warning(pod, container, "Failed", "Error: ErrImageNeverPull")
            raise ImageError("ErrImageNeverPull", message)
        message = f'Container image "{container.image}" already present on machine and can be accessed by the pod'
        self._events.normal(pod, container, "Pulled", message)
        return present

    async def _pull(self, pod: Pod, container: Container) -> Image:
        image, key = container.image, (pod.metadata.uid, container.image)
        clock = asyncio.get_running_loop().time
        failed_at = self._failures.get(key)
        if failed_at is not None and self._back_off.remaining(key, failed_at[0], clock()) > 0:
            self._events.normal(pod, container, "BackOff", f'Back-off pulling image "{image}"')
            self._events.warning(pod, container, "Failed", "Error: ImagePullBackOff")
            raise ImageError("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {failed_at[1]}')
        self._events.normal(pod, container, "Pulling", f'Pulling image "{image}"')
        started = clock()
        try:
            pulled = await self._runtime.pull_image(image)
        except RuntimeCallError as error:
            self._events.warning(pod, container, "Failed", f'Failed to pull image "{image}": {error}')
            self._events.warning(pod, container, "Failed", "Error: ErrImagePull")
            self._back_off.next(key, clock(), clock())
            self._failures[key] = (clock(), str(error))
            raise ImageError("ErrImagePull", str(error)) from error
        self._failures.pop(key, None)
        self._pulled(pod, container, pulled, clock() - started)
        return pulled

    def _pulled(self, pod: Pod, container: Container, pulled: Image, seconds: float) -> None:
        took = duration_text(round(seconds * 1000) * 1_000_000)
        self._events.normal(
            pod,
            container,
            "Pulled",
            f'Successfully pulled image "{container.image}" in {took} ({took} including waiting). '
            f"Image size: {pulled.size_bytes} bytes.",
        )
        self._metrics.image_pull_duration_seconds.labels(_size_bucket(pulled.size_bytes)).observe(seconds)

    def retry_after(self, pod_uid: str) -> float:
        """Seconds until the pod may try to pull again; 0 when nothing holds it back."""
        now = asyncio.get_running_loop().time()
        waits = [self._back_off.remaining(key, at, now) for key, (at, _) in self._failures.items() if key[0] == pod_uid]
        return max(waits, default=0.0)

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        self._back_off.forget(pod_uid)
        self._failures = {key: value for key, value in self._failures.items() if key[0] != pod_uid}


def _size_bucket(size_bytes: int) -> str:
    megabytes = size_bytes / 1e6
    return next((label for limit, label in _SIZES if megabytes <= limit), "GT100GB")
