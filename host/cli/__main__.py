# SPDX-License-Identifier: Apache-2.0
"""``python -m host.cli``: the command without an installed script."""

from host.cli import main

main()
