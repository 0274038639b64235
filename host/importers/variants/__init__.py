# SPDX-License-Identifier: Apache-2.0
"""What some networks add to a plain ViT, whatever the layout of the rest: windows, deep prompts."""
