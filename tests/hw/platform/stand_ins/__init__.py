# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the vendor's Tcl commands: they take the options that UG835 lists, know the pins and parameters of the
vendor's IP (PG201, PG247, PG164), read interfaces from the Verilog's attributes, and refuse everything else."""
