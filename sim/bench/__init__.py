# SPDX-License-Identifier: Apache-2.0
"""``make bench``: cycles of the full frame in RTL, plan by plan and memory by memory, bit-exact at the same time."""
