# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: every program that the reference runs is searched for missing waits."""

from golden.iss.machine import Machine

Machine.check_hazards = True
