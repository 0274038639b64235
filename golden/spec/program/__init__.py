# SPDX-License-Identifier: Apache-2.0
"""Program images: their contents, their file format, and which weights they may hold."""
