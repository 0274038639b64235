# SPDX-License-Identifier: Apache-2.0
"""Compiler of task heads: plan of strips, choice of a plan for a machine, and lowering to instructions."""
