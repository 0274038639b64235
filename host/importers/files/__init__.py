# SPDX-License-Identifier: Apache-2.0
"""Files and folders that hold checkpoints, each read to tensors by their own names."""
