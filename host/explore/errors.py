# SPDX-License-Identifier: Apache-2.0
"""Exception of an exploration that ends without a result."""


class NothingFits(ValueError):
    """No machine for this model on this board; the message says what is short."""
