# SPDX-License-Identifier: Apache-2.0
"""HTTP service of a device: the Open Inference Protocol, a page to look at results, metrics."""
