# SPDX-License-Identifier: Apache-2.0
"""``make demo``: a real picture through every layer of a model, in RTL, compared bit by bit with the golden model."""
