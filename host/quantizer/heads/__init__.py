# SPDX-License-Identifier: Apache-2.0
"""Quantizer of task heads: steps of maps, convolutions fitted on sampled windows, results."""
