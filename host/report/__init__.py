# SPDX-License-Identifier: Apache-2.0
"""Reports: accuracy, generated pages."""
