"""How the bodies of a message are to be read, by the number in its header."""

from __future__ import annotations

from typing import Final

PAYLOAD_CODEC: Final = 1
"""A value, see `zmqfl.wire.payload`."""
RAW: Final = 2
"""Bytes of a file."""
REFERENCE: Final = 3
"""Where the value is to be had, see `zmqfl.cell.references`."""
RECORDS: Final = 4
"""Part of a stream of records, see `zmqfl.cell.records`."""
PACKED: Final = 5
"""An item of a channel with packed frames, see `zmqfl.cell.channel_items`."""
SEALED: Final = 16
"""Sealed for its targets, see `zmqfl.wire.seal`."""
