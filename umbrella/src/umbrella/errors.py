"""What can be wrong with a topology, and what a component may raise."""

from __future__ import annotations

from .places import Place


class UmbrellaError(Exception):
    """Something is wrong; `place` is the line of the user's code, where one is known."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def __str__(self) -> str:
        return self.message if self.place is None else f"{self.place}: {self.message}"


class DeclarationError(UmbrellaError):
    """A stream, a component or a topology is declared wrongly."""


class MissingStreamError(DeclarationError, AttributeError):
    """A stream is named that a component does not have."""


class EmitError(UmbrellaError):
    """What is emitted does not fit the stream."""


class ToolError(UmbrellaError):
    """A program that is needed is missing or failed."""


class RequirementsError(UmbrellaError):
    """What the app needs is not installed where it runs."""

    #: By this the cluster's condition is told from other errors.
    waterspout_reason = "RequirementsMissing"


class Fail(Exception):  # noqa: N818 It is no error of the program.
    """Raised by a bolt: fails the tuple that it works on, so that its spout emits it again.

    Any other exception does the same and is reported with its traceback.
    """
