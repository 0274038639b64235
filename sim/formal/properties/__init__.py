# SPDX-License-Identifier: Apache-2.0
"""Harnesses: what is assumed of a unit's inputs, and what is claimed of its outputs."""
