# SPDX-License-Identifier: Apache-2.0
"""Errors of model files: what a checkpoint or model file has that was not wanted, each a sentence for the user."""


class ModelFileError(ValueError):
    """A model file or checkpoint that cannot be used; subclasses name the reason, the message says what to do."""


class MissingTensor(ModelFileError):
    """A tensor that the description needs is absent."""


class UnexpectedTensor(ModelFileError):
    """A tensor that is not part of the model."""


class WrongShape(ModelFileError):
    """A tensor whose shape does not match the model configuration."""


class WrongDtype(ModelFileError):
    """A tensor with another element type than required."""


class NotFinite(ModelFileError):
    """A tensor that holds NaN or infinity."""


class MissingFile(ModelFileError):
    """A file or folder that is not there or cannot be opened."""


class TruncatedFile(ModelFileError):
    """A file with fewer (or more) bytes than its header or the model configuration requires."""


class TooLarge(ModelFileError):
    """A file of more bytes than any model has; nothing was read."""


class BadHeader(ModelFileError):
    """An invalid header: absurd length, broken JSON, offsets that overlap or leave holes."""


class DamagedFile(ModelFileError):
    """A file whose content is not what was written."""


class PickleRefused(ModelFileError):
    """A checkpoint that can only be read by executing what it contains; nothing was executed."""


class UnknownLayout(ModelFileError):
    """A checkpoint whose names match no layout known here."""


class AmbiguousModel(ModelFileError):
    """A checkpoint that lacks needed information; the message names the option to give."""


class UnsupportedModel(ModelFileError):
    """A network that :class:`ModelConfig` cannot describe; the message names the part that does not fit."""
