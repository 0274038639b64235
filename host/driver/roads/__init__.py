# SPDX-License-Identifier: Apache-2.0
"""Boards whose registers and memory another package reaches: PYNQ on Zynq boards, XRT on Alveo cards."""
