# SPDX-License-Identifier: Apache-2.0
"""Platform kits: for a board, one folder from which the vendor's tool makes a bitstream with one command.

``python -m hw.platform --board kv260``. What a kit says comes from the board file, the machine configuration, the
register table and the ports of the exported Verilog; the scripts in ``templates`` are the same for every board of a
family and read ``facts.tcl``. No vendor tool has run them: ``tests/hw/platform`` runs them in a Tcl interpreter.
"""
