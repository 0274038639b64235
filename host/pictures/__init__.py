# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: classes with a legend, depth with a scale, overlays, errors, animations."""
