# SPDX-License-Identifier: Apache-2.0
"""Runs compiled programs on a device, simulated or real; needs numpy and the spec only."""

from host.driver.device import Buffer, Device, open_device
from host.driver.result import Result
from host.driver.session import Session

__all__ = ["Buffer", "Device", "Result", "Session", "open_device"]
