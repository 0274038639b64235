# SPDX-License-Identifier: Apache-2.0
"""End-to-end tests of programs other than of one picture through a plain network."""
