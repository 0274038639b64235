# SPDX-License-Identifier: Apache-2.0
"""What models and the reference device show of themselves: one line of text, a table in notebooks."""
