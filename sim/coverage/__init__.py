# SPDX-License-Identifier: Apache-2.0
"""Coverage of the gateware by the benches: branches, lines and toggles of the source; classes of instructions."""
