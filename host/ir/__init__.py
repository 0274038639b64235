# SPDX-License-Identifier: Apache-2.0
"""Intermediate representation of programs: nodes, and what of the weight ring they use."""
