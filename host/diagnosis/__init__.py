# SPDX-License-Identifier: Apache-2.0
"""Tests of a device by golden vectors, dumps of results, and where two of them differ first."""
