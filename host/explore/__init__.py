# SPDX-License-Identifier: Apache-2.0
"""Which machine for which board: candidates, their cycles and areas, the best of them."""
