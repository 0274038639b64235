# SPDX-License-Identifier: Apache-2.0
"""Place and route of the gateware with open tools, for a Gowin GW5AST-138C: the whole machine, or single units."""
