"""The committed messages are those of etcd.proto, and ask for no particular protobuf."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from kubeglass.components.apiserver.storage import etcd_pb2

FOLDER = Path(etcd_pb2.__file__).parent


def test_generated_from_the_proto_beside_it(tmp_path: Path) -> None:
    """Whoever changes etcd.proto must generate anew."""
    out = tmp_path / "set"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}", f"--descriptor_set_out={out}", "etcd.proto"],
        check=True,
    )
    fresh = FileDescriptorSet.FromString(out.read_bytes()).file[0]
    for message in fresh.message_type:
        for nested in (message, *message.nested_type):
            for field in nested.field:
                field.ClearField("json_name")  # which protoc leaves out of what it embeds
    assert FileDescriptorProto.FromString(etcd_pb2.DESCRIPTOR.serialized_pb) == fresh


def test_no_check_of_the_runtime() -> None:
    """The check would refuse every protobuf older than the compiler that generated the file."""
    assert "ValidateProtobufRuntimeVersion" not in Path(etcd_pb2.__file__).read_text()
