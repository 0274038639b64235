# SPDX-License-Identifier: Apache-2.0
"""Charts of a profile as SVG: where the cycles go, the roofline, the load of the experts, the ranges of values."""
