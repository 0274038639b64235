# SPDX-License-Identifier: Apache-2.0
"""The register map of ``golden.spec.regs`` in the languages of other tools; needs the standard library only.

The writers are this project's own because the well-known exporters for IP-XACT and C are under GPL and LGPL; the tests
have a SystemRDL compiler, the IP-XACT schema, gcc and Python read what they write.
"""

from collections.abc import Callable

from golden.spec.machine import MachineConfig
from host.registers import c_header, ip_xact, pages, python_module, system_rdl

FORMATS: dict[str, Callable[[MachineConfig | None], str]] = {
    "rdl": system_rdl.text, "ipxact": ip_xact.text, "c": c_header.text, "html": pages.html,
    "markdown": pages.markdown, "python": python_module.text,
}
"""Writers by the name of their format: the text for one machine configuration, whose fingerprint it holds then."""
