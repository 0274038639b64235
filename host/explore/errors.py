# SPDX-License-Identifier: Apache-2.0
"""Why an exploration ends without a result."""


class NothingFits(ValueError):
    """No machine for this model on this board; the message says what is short."""
