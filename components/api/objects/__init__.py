"""Typed read-only views of Kubernetes objects; `decode(Pod, data)` makes one from JSON bytes or a decoded mapping.

Field names are the wire names in snake_case. Times stay RFC 3339 strings (api/times.py), quantities strings
(api/quantity.py). Unknown fields are ignored: a view is for reading, a change leaves as a patch of the JSON.
Where groups share a type name, the core (or rbac) one is exported here and the other stays in its module.
"""

# ruff: noqa: F401, F403
# mypy: implicit-reexport
from kubeglass.components.api.objects.admissionregistration import *
from kubeglass.components.api.objects.apiextensions import (
    CustomResourceColumnDefinition,
    CustomResourceConversion,
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec,
    CustomResourceDefinitionStatus,
    CustomResourceDefinitionVersion,
    CustomResourceSubresources,
    CustomResourceSubresourceScale,
    CustomResourceValidation,
    SelectableField,
    WebhookConversion,
)
from kubeglass.components.api.objects.apiregistration import (
    APIService,
    APIServiceCondition,
    APIServiceSpec,
    APIServiceStatus,
)
from kubeglass.components.api.objects.apps import *
from kubeglass.components.api.objects.authentication import *
from kubeglass.components.api.objects.authorization import *
from kubeglass.components.api.objects.autoscaling import *
from kubeglass.components.api.objects.batch import *
from kubeglass.components.api.objects.certificates import *
from kubeglass.components.api.objects.containers import *
from kubeglass.components.api.objects.coordination import *
from kubeglass.components.api.objects.core import *
from kubeglass.components.api.objects.discovery import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointSlice,
    ForNode,
    ForZone,
)
from kubeglass.components.api.objects.flowcontrol import FlowSchema
from kubeglass.components.api.objects.flowcontrol import PriorityLevel as PriorityLevelConfiguration
from kubeglass.components.api.objects.meta import *
from kubeglass.components.api.objects.networking import *
from kubeglass.components.api.objects.pod import *
from kubeglass.components.api.objects.policy import *
from kubeglass.components.api.objects.rbac import *
from kubeglass.components.api.objects.scheduling import *
from kubeglass.components.api.objects.storage import (
    CSIDriver,
    CSIDriverSpec,
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    StorageClass,
    TopologySelectorLabelRequirement,
    TopologySelectorTerm,
    VolumeAttachment,
    VolumeAttachmentSource,
    VolumeAttachmentSpec,
    VolumeAttachmentStatus,
    VolumeError,
    VolumeNodeResources,
)
from kubeglass.components.api.objects.struct import Object, decode, encode
from kubeglass.components.api.objects.volumes import *
