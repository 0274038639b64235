# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: every program that the reference model runs is checked for missing waits."""

from golden.iss.machine import Machine

Machine.check_hazards = True
