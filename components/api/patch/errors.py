"""Why a patch cannot be applied."""

from __future__ import annotations

from typing import Literal


class PatchError(ValueError):
    """`blame` tells the answer: `request` is a 400, `operation` a 422 without details, `server` a bare 500."""

    def __init__(self, message: str, blame: Literal["request", "operation", "server"] = "request") -> None:
        super().__init__(message)
        self.blame = blame
