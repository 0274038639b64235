# SPDX-License-Identifier: Apache-2.0
"""Profile of one run: time, work and bytes of each layer, load of the experts, ranges of values, and its page."""
