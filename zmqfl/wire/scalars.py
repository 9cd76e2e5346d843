"""Single values from the standard library that msgpack has no type for.

Each row of `LOWER` says how a type becomes the arguments behind its mark; the row of `LIFT` with the same tag says
which argument types are accepted and how the value is made again. Text forms are accepted only as this side would
write them, so a value has one form on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

from zmqfl.wire.tags import MARKS, MAX_NUMBER_BYTES, Refusal, Tag


def lower_int(value: object) -> list[object]:
    """An int beyond 64 bits, as a marked array (msgpack's `default` hook: it is called for nothing else)."""
    if type(value) is not int:
        raise Refusal(f"{type(value).__name__} changed while it was encoded")
    if value.bit_length() >= 8 * MAX_NUMBER_BYTES:
        raise Refusal(f"int of {value.bit_length()} bits is above the limit of {8 * MAX_NUMBER_BYTES}")
    return [MARKS[Tag.INT], value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]


def _lift_int(data: bytes) -> int:
    if len(data) > MAX_NUMBER_BYTES:
        raise Refusal(f"int of {len(data)} bytes is above the limit of {MAX_NUMBER_BYTES}")
    return int.from_bytes(data, "big", signed=True)


def _lower_decimal(value: Decimal) -> tuple[str]:
    text = str(value)
    if len(text) > MAX_NUMBER_BYTES:
        raise Refusal(f"Decimal of {len(text)} characters is above the limit of {MAX_NUMBER_BYTES}")
    return (text,)


def _lift_decimal(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_BYTES:
        raise Refusal(f"Decimal of {len(text)} characters is above the limit of {MAX_NUMBER_BYTES}")
    value = Decimal(text)
    _check_same(str(value), text)
    return value


def _lower_moment(value: datetime | time) -> tuple[str, int, str]:
    return value.isoformat(), value.fold, _lower_zone(value.tzinfo)


def _lower_zone(zone: tzinfo | None) -> str:
    if zone is None:
        return ""
    if type(zone) is not timezone:
        # Named zones follow rules that differ between hosts: the moment could change on its way.
        raise Refusal(
            f"time zone of type {type(zone).__name__} would not come out equal everywhere; "
            "send value.astimezone(datetime.timezone.utc), or a datetime.timezone with a fixed offset"
        )
    return zone.tzname(None)


def _lift_datetime(text: str, fold: int, zone: str) -> datetime:
    value = datetime.fromisoformat(text)
    _check_same(value.isoformat(), text)
    return value.replace(tzinfo=_lift_zone(value.tzinfo, zone), fold=fold)


def _lift_time(text: str, fold: int, zone: str) -> time:
    value = time.fromisoformat(text)
    _check_same(value.isoformat(), text)
    return value.replace(tzinfo=_lift_zone(value.tzinfo, zone), fold=fold)


def _lift_zone(fixed: tzinfo | None, name: str) -> tzinfo | None:
    if fixed is None or fixed.tzname(None) == name:
        return fixed
    offset = fixed.utcoffset(None)
    assert offset is not None, "fromisoformat makes fixed offsets only"
    return timezone(offset, name)


def _lift_date(text: str) -> date:
    value = date.fromisoformat(text)
    _check_same(value.isoformat(), text)
    return value


def _lift_path(kind: type[PurePath]) -> Callable[[str], PurePath]:
    def lift(text: str) -> PurePath:
        value = kind(text)
        _check_same(str(value), text)
        return value

    return lift


def _check_same(written: str, received: str) -> None:
    if written != received:
        raise Refusal("text is not in its normal form")


LOWER: dict[type, tuple[Tag, Callable[[Any], tuple[object, ...]]]] = {
    complex: (Tag.COMPLEX, lambda value: (value.real, value.imag)),
    Decimal: (Tag.DECIMAL, _lower_decimal),
    UUID: (Tag.UUID, lambda value: (value.bytes,)),
    PosixPath: (Tag.POSIX_PATH, lambda value: (str(value),)),
    PurePosixPath: (Tag.PURE_POSIX_PATH, lambda value: (str(value),)),
    PureWindowsPath: (Tag.PURE_WINDOWS_PATH, lambda value: (str(value),)),
    datetime: (Tag.DATETIME, _lower_moment),
    date: (Tag.DATE, lambda value: (value.isoformat(),)),
    time: (Tag.TIME, _lower_moment),
    timedelta: (Tag.TIMEDELTA, lambda value: (value.days, value.seconds, value.microseconds)),
}

LIFT: dict[Tag, tuple[tuple[type, ...], Callable[..., object]]] = {
    Tag.INT: ((bytes,), _lift_int),
    Tag.COMPLEX: ((float, float), complex),
    Tag.BYTEARRAY: ((bytes,), bytearray),
    Tag.DECIMAL: ((str,), _lift_decimal),
    Tag.UUID: ((bytes,), lambda data: UUID(bytes=data)),
    Tag.POSIX_PATH: ((str,), _lift_path(PosixPath)),
    Tag.PURE_POSIX_PATH: ((str,), _lift_path(PurePosixPath)),
    Tag.PURE_WINDOWS_PATH: ((str,), _lift_path(PureWindowsPath)),
    Tag.DATETIME: ((str, int, str), _lift_datetime),
    Tag.DATE: ((str,), _lift_date),
    Tag.TIME: ((str, int, str), _lift_time),
    Tag.TIMEDELTA: ((int, int, int), timedelta),
}


def lift_scalar(tag: Tag, arguments: list[object]) -> object:
    """The value behind a mark. Raises `Refusal` for an unknown tag or wrong arguments, else what the type raises."""
    types, make = LIFT[tag]
    if tuple(map(type, arguments)) != types:
        raise Refusal(f"{tag.name} with the wrong arguments")
    return make(*arguments)
