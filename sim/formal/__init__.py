# SPDX-License-Identifier: Apache-2.0
"""Formal proofs of gateware: claims about one unit, for every input and every length of time."""
