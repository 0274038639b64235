# SPDX-License-Identifier: Apache-2.0
"""Verbs that write pages about runs."""
