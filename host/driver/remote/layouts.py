# SPDX-License-Identifier: Apache-2.0
"""Payloads of requests and answers, little-endian; what both sides pack and unpack."""

import struct

ADDRESS = struct.Struct("<IQ")
"""Answer to ALLOCATE: number and bus address of the buffer."""
SIZE = struct.Struct("<Q")
"""ALLOCATE: bytes; WAIT: most cycles."""
PLACE = struct.Struct("<IQ")
"""PUT: buffer and offset, the data follow."""
RANGE = struct.Struct("<IQI")
"""GET: buffer, offset, bytes."""
DIRECTION = struct.Struct("<IB")
"""SYNC: buffer, TO_DEVICE or TO_CPU."""
WAITED = struct.Struct("<BQ")
"""Answer to WAIT: GOES_ON, LIMIT or ENDED, cycles so far."""

TO_DEVICE, TO_CPU = 0, 1
GOES_ON, LIMIT, ENDED = 0, 1, 2
SLICE = 0.25
"""Seconds after which a wait tells how far it is; the client goes on with it."""
MOST_WORDS = 1024
"""Registers of one READ (an offset u32 each; the answer is a value u32 each) or WRITE (offset and value u32 each)."""
