"""All errors of vqcodec, one class for each cause.

Every class is a :class:`VqcodecError`, and that is a :class:`ValueError`. The Rust core raises
these classes, too; its error variants map to them one to one.
"""

__all__ = [
    "CorruptedError",
    "InvalidInputError",
    "InvalidModelError",
    "LimitError",
    "ModelMismatchError",
    "ModelMissingError",
    "NotVqaError",
    "NotVqcError",
    "TruncatedError",
    "UnsupportedImageError",
    "UnsupportedVersionError",
    "VqcodecError",
]


class VqcodecError(ValueError):
    """Anything that vqcodec refuses; the message is one sentence that names the cause."""


class NotVqcError(VqcodecError):
    """The data is not a vqcodec file."""


class NotVqaError(VqcodecError):
    """The data is not a vqcodec archive."""


class UnsupportedVersionError(VqcodecError):
    """The data is a vqcodec file of a format version that this release cannot read."""


class TruncatedError(VqcodecError):
    """The data ends too early."""


class CorruptedError(VqcodecError):
    """The data contradicts its checksums or the format."""


class LimitError(VqcodecError):
    """A size is over a limit that the caller may raise."""


class ModelMissingError(VqcodecError):
    """The file needs a model that cannot be found."""


class ModelMismatchError(VqcodecError):
    """The file needs another model than the one given."""


class InvalidModelError(VqcodecError):
    """The model file is damaged, incomplete, or its integer arithmetic could overflow."""


class UnsupportedImageError(VqcodecError):
    """The image has a mode, a type or a shape that cannot be encoded."""


class InvalidInputError(VqcodecError):
    """An argument has a value or a shape that cannot be encoded."""
