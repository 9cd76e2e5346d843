"""Data exchange objects: what a Shareable holds, with its kind and what is known about it.

    DXO(DataKind.WEIGHTS, {"w": array}, {MetaKey.NUM_STEPS_CURRENT_ROUND: 12}).to_shareable()
    from_shareable(result).data["w"]

Source: reference "flare" 6.11.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zmqfl.cell.registry import check_name
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.errors import ArgumentError, DecodeError

CONTENT_TYPE: Final = "DXO"
"""Header of a Shareable that holds a DXO, and the key under which it does."""


class DataKind:
    """What the data is."""

    FL_MODEL = "FL_MODEL"
    WEIGHTS = "WEIGHTS"
    WEIGHT_DIFF = "WEIGHT_DIFF"
    METRICS = "METRICS"
    ANALYTIC = "ANALYTIC"
    COLLECTION = "COLLECTION"
    """Its data are DXOs by name."""
    STATISTICS = "STATISTICS"
    PSI = "PSI"
    APP_DEFINED = "APP_DEFINED"


class MetaKey:
    """Names of what is known about the data."""

    NUM_STEPS_CURRENT_ROUND = "NUM_STEPS_CURRENT_ROUND"
    PROCESSED_ALGORITHM = "PROCESSED_ALGORITHM"
    PROCESSED_KEYS = "PROCESSED_KEYS"
    INITIAL_METRICS = "initial_metrics"
    FILTER_HISTORY = "filter_history"
    CURRENT_ROUND = "current_round"
    TOTAL_ROUNDS = "total_rounds"
    JOB_ID = "job_id"
    SITE_NAME = "site_name"


class DXO:
    """`data_kind`: one of `DataKind`, or a kind of yours. `data`, `meta`: dicts, empty unless given.

    Raises `ArgumentError` for other types.
    """

    def __init__(
        self, data_kind: str, data: Mapping[Any, Any] | None = None, meta: Mapping[str, Any] | None = None
    ) -> None:
        for name, given in ("data", data), ("meta", meta):
            if given is not None and not isinstance(given, Mapping):
                raise ArgumentError(f"{name} must be a dict, not {type(given).__name__}")
        self.data_kind = check_name(data_kind, "data_kind")
        self.data: dict[Any, Any] = data if isinstance(data, dict) else dict(data or {})
        self.meta: dict[str, Any] = meta if isinstance(meta, dict) else dict(meta or {})

    # -- what is known about it --------------------------------------------------------------------------------------

    def get_meta_prop(self, key: str, default: Any = None) -> Any:
        """One thing known about the data."""
        return self.meta.get(key, default)

    def set_meta_prop(self, key: str, value: Any) -> None:
        """Say something about the data."""
        self.meta[key] = value

    def get_meta_props(self) -> dict[str, Any]:
        """All that is known about it."""
        return self.meta

    def update_meta_props(self, meta: Mapping[str, Any]) -> None:
        """Say more about it. The values are copied."""
        self.meta.update(copy.deepcopy(dict(meta)))

    def validate(self) -> str:
        """What is wrong with it; "" when nothing is."""
        if self.data_kind != DataKind.COLLECTION:
            return ""
        for name, part in self.data.items():
            if not isinstance(part, DXO):
                return f"{name!r} of a collection must be a DXO, not {type(part).__name__}"
            if problem := part.validate():
                return f"{name!r}: {problem}"
        return ""

    # -- travel ------------------------------------------------------------------------------------------------------

    def to_shareable(self) -> Shareable:
        """A Shareable that holds it; the arrays are shared."""
        return self.update_shareable(Shareable())

    def update_shareable(self, shareable: Shareable) -> Shareable:
        """Put it into a Shareable, beside what that holds, and return that. Raises `ArgumentError` if it is invalid."""
        if problem := self.validate():
            raise ArgumentError(problem)
        shareable.set_header(ReservedHeaderKey.CONTENT_TYPE, CONTENT_TYPE)
        shareable[CONTENT_TYPE] = _plain(self)
        return shareable

    def to_bytes(self) -> bytes:
        """All of it as bytes. Raises `EncodeError` naming what cannot travel."""
        return self.to_shareable().to_bytes()

    def to_file(self, file_path: str | Path) -> None:
        """Write `to_bytes` to a file."""
        Path(file_path).write_bytes(self.to_bytes())

    def __repr__(self) -> str:
        return f"<DXO {self.data_kind}, {len(self.data)} items, meta {', '.join(map(str, self.meta)) or 'empty'}>"


def from_shareable(shareable: Shareable) -> DXO:
    """The DXO that a Shareable holds. Raises `DecodeError` when it holds none, `ArgumentError` for no Shareable."""
    if not isinstance(shareable, Shareable):
        raise ArgumentError(f"a DXO comes in a Shareable, not in a {type(shareable).__name__}")
    if shareable.get_header(ReservedHeaderKey.CONTENT_TYPE) != CONTENT_TYPE:
        raise DecodeError("this Shareable holds no DXO")
    return _dxo_of(shareable.get(CONTENT_TYPE))


def from_bytes(data: bytes) -> DXO:
    """What `DXO.to_bytes` wrote. Raises `DecodeError` for anything else."""
    return from_shareable(Shareable.from_bytes(data))


def from_file(file_path: str | Path) -> DXO:
    """What `DXO.to_file` wrote. Raises `DecodeError`, and `OSError` for a file that cannot be read."""
    return from_bytes(Path(file_path).read_bytes())


def _dxo_of(plain: object) -> DXO:
    match plain:
        case {"kind": DataKind.COLLECTION, "data": dict() as parts, "meta": dict() as meta}:
            return DXO(DataKind.COLLECTION, {name: _dxo_of(part) for name, part in parts.items()}, meta)
        case {"kind": str() as kind, "data": dict() as data, "meta": dict() as meta} if kind:
            return DXO(kind, data, meta)
    raise DecodeError("a DXO must be a dict of a kind, data and meta")


def _plain(dxo: DXO) -> dict[str, Any]:
    is_collection = dxo.data_kind == DataKind.COLLECTION
    data = {name: _plain(part) for name, part in dxo.data.items()} if is_collection else dxo.data
    return {"kind": dxo.data_kind, "data": data, "meta": dxo.meta}
