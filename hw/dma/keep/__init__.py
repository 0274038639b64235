# SPDX-License-Identifier: Apache-2.0
"""Token pruning unit of the DMA side."""
