# SPDX-License-Identifier: Apache-2.0
"""Programs: images, their contents and file format, which weights they may hold, and which waits they need."""
