# SPDX-License-Identifier: Apache-2.0
"""Setting of all tests: every program that the reference model runs is checked for missing waits; Ctrl-C is heard."""

import signal

from golden.iss.machine import Machine

Machine.check_hazards = True

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so shells start what runs in the background; it is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
