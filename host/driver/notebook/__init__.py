# SPDX-License-Identifier: Apache-2.0
"""How sessions, devices and results show themselves in a notebook; needs numpy only."""
