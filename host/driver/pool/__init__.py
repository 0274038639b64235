# SPDX-License-Identifier: Apache-2.0
"""Several devices that share the pictures of one program."""

from host.driver.pool.figures import Figures
from host.driver.pool.pool import Pool

__all__ = ["Figures", "Pool"]
