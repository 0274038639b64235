# SPDX-License-Identifier: Apache-2.0
"""Accuracy of tasks: metrics of segmentation and depth over whole sets of pictures."""
