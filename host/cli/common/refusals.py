# SPDX-License-Identifier: Apache-2.0
"""Which errors are refusals: exit status and sentence. Errors are known when one came, so that help stays quick."""

REFUSED, FAILED = 2, 1
"""Exit status of refused input, and of a device or job that failed."""


def refusal(error: Exception) -> tuple[int, str] | None:
    """Exit status and sentence for ``error``; None for what is no refusal but a defect."""
    from host.cli.common.extras import needed
    from host.driver.errors import AccelError

    if (sentence := needed(error)) is not None:
        return REFUSED, sentence
    if isinstance(error, _bad_input()):
        return REFUSED, f"{type(error).__name__}: {error}"
    if isinstance(error, AccelError):
        return FAILED, f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return REFUSED, f"{error.filename or 'file'}: {error.strerror or error}."
    return None


def _bad_input() -> tuple[type[Exception], ...]:
    """Errors whose message is a sentence about the input."""
    from golden.files.errors import ModelFileError
    from golden.spec.model import ConfigError
    from golden.spec.program.container import ProgramError
    from host.cli.output import UsageError
    from host.diagnosis.dump import DumpError
    from host.driver.errors import InputError, VersionMismatch
    from host.explore.errors import NothingFits
    from host.ir.nodes import NotFitting
    from host.parallel_map import ClusterError
    from host.pictures.errors import AnimationError, PictureError

    return (UsageError, PictureError, AnimationError, DumpError, ModelFileError, ProgramError, ConfigError, NotFitting,
            NothingFits, ClusterError, InputError, VersionMismatch)
