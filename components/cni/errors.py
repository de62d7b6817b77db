"""The error codes of the CNI specification: 1-99 are reserved by it, a plugin's own begin at 100."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class CniError(Exception):
    """A failed verb: the code, a sentence, and perhaps details."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def wire(self) -> dict[str, Any]:
        """What goes to stdout beside the cniVersion."""
        details = {"details": self.details} if self.details else {}
        return {"code": self.code, "msg": self.message, **details}


def incompatible_version(version: str, supported: Sequence[str]) -> CniError:
    return CniError(1, "incompatible CNI versions", f"config is {version!r}, plugin supports {list(supported)!r}")


def unknown_container(container_id: str, why: str) -> CniError:
    return CniError(3, f"unknown container {container_id}", why)


def invalid_environment(message: str) -> CniError:
    return CniError(4, message)


def io_failure(error: OSError) -> CniError:
    return CniError(5, f"I/O failure: {error}")


def decoding_failure(message: str) -> CniError:
    return CniError(6, message)


def invalid_configuration(message: str) -> CniError:
    return CniError(7, message)


def unavailable(message: str) -> CniError:
    """STATUS: ADD cannot work now."""
    return CniError(50, message)
