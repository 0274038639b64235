# SPDX-License-Identifier: Apache-2.0
"""Area and logic depth of the gateware, by Yosys for UltraScale+."""
