# SPDX-License-Identifier: Apache-2.0
"""Tests of networks with windows or prompts in any layout."""
