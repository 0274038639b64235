# SPDX-License-Identifier: Apache-2.0
"""Place and route of the gateware with open tools, unit by unit, on a Lattice ECP5."""
