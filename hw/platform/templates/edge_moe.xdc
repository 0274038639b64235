# SPDX-License-Identifier: Apache-2.0
# Constraints of the top level. It has not been run in the vendor's tool.
# The one clock, pl_clk0, is constrained by the processing system's IP; no pin of the device is used; the reset is
# synchronous. What is left is a smaller bitstream, which loads faster.
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
