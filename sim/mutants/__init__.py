# SPDX-License-Identifier: Apache-2.0
"""Mutation tool: draws small defects from the source of the gateware and lets the benches find them."""
