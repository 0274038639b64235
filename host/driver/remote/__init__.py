# SPDX-License-Identifier: Apache-2.0
"""A device on another computer: a server on the board, and a Device on the desk that any Session takes.

The protocol stands at the level of registers and buffers, as :class:`host.driver.device.Device` does. So everything
that runs on a local device runs on a remote one, with the same errors; the server needs to know nothing of programs.

* :mod:`frames`: messages with a magic number, a version, a bounded size and a checksum; no pickle.
* :mod:`token`: the secret that both sides know, :mod:`handshake`: how they prove it without sending it.
* :mod:`client`: :class:`host.driver.remote.client.RemoteDevice`, ``open_device("remote:HOST:PORT")``.
* :mod:`requests`: what the server does with one request, :mod:`server`: owners, one at a time.
"""
