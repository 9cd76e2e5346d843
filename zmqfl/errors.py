"""Every error that zmqfl raises, as one tree.

    ZmqflError
    ├── UserError(field, remedy)            a mistake in what a person gave; the CLI prints it as one line
    │   ├── FqcnError                       a cell name outside the grammar            (also a ValueError)
    │   ├── TopologyError(file, line, ...)  a topology or settings file that cannot be used
    │   │   └── TopologyErrors(errors)      all that was found wrong in it
    │   └── KeyFileError(file, ...)         a key that is missing, unreadable or open to others
    ├── UsageError                          the program called zmqfl in a way that cannot work
    │   ├── ArgumentError                   an argument of the wrong type or value     (also TypeError, ValueError)
    │   │   └── SignatureError(method, parameter)  it does not fit the signature of a remote method
    │   ├── ClosedError                     the cell is stopped, or was never started
    │   ├── ForkedError                     the cell belongs to another process
    │   └── WouldDeadlockError              waiting here would stop what it waits for
    ├── PayloadError                        a value and its bytes
    │   ├── EncodeError                     Local: the value cannot travel             (also a TypeError)
    │   └── DecodeError                     Remote: the bytes are not what they claim  (also a ValueError)
    ├── ProtocolError
    │   ├── LocalProtocolError              we broke a rule: a bug in zmqfl
    │   └── RemoteProtocolError             the peer did; its message is dropped and counted
    ├── RequestFailed(target, code, reason) a request that ended without an OK reply
    │   ├── ServiceUnavailable, InvalidRequest, InvalidSession, AuthenticationError, AbortRun
    │   │                                   raised *by handlers* to choose the code that the caller gets
    │   ├── RpcTimeout                      a remote method took longer than it may    (also a TimeoutError)
    │   ├── NoSuchMethod                    nothing is published under that name       (also an AttributeError)
    │   └── RemoteError(type_name, message, remote_traceback)  a remote method raised
    ├── TransferError(code, culprit, reason)  a push or pull that did not end well
    ├── ChannelError(channel, broker, reason)  a channel cannot be used so
    │   ├── ChannelExistsError              the name is taken
    │   ├── ChannelUnknownError             there is no such channel, or it is private and the key is wrong
    │   ├── ChannelDeniedError              only its owner may do this
    │   ├── ChannelEndedError               it has ended: deleted, expired, its owner or its broker is gone
    │   └── BufferFullError(readers)        the buffers of these readers refused an item
    └── BlobError(file, problem, remedy)    bytes that cannot be read or written
        ├── SourceError                     the source cannot be read: vanished, unreadable, no regular file
        │   └── SourceChangedError          it was replaced, modified or cut short since it was opened
        ├── SinkError                       the sink cannot be written: disk full, read-only, name refused
        └── DigestError                     bytes that differ from their digest

Local errors are yours, Remote ones the peer's: both are raised where they are seen and translated at one
door (the reactor drops a bad frame, the handle turns a return code into `RequestFailed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class CellReturnCode(StrEnum):
    """How a request ended; the same codes for small and large payloads.

    Source: reference "flare" 5.6 and 5.8 (core column).
    """

    OK = "ok"
    TIMEOUT = "timeout"
    INVALID_TARGET = "invalid_target"
    TARGET_UNREACHABLE = "target_unreachable"
    COMM_ERROR = "comm_error"
    MSG_TOO_BIG = "msg_too_big"
    FILTER_ERROR = "filter_error"
    INVALID_REQUEST = "invalid_request"
    PROCESS_EXCEPTION = "process_exception"
    AUTHENTICATION_ERROR = "authentication_error"
    SERVICE_UNAVAILABLE = "service_unavailable"
    INVALID_SESSION = "invalid_session"
    ABORT_RUN = "abort_run"
    UNAUTHENTICATED = "unauthenticated"


class ZmqflError(Exception):
    """Root of the tree: `except ZmqflError` catches all that zmqfl raises on purpose."""


class UserError(ZmqflError):
    """Something that a person gave is wrong.

    Fields: `problem` (what is wrong), `field` (where, dotted; may be empty), `remedy` (what to do; may be empty).
    """

    def __init__(self, problem: str, *, field: str = "", remedy: str = "") -> None:
        self.problem = problem
        self.field = field
        self.remedy = remedy
        super().__init__(self.line())

    def where(self) -> str:
        """The place of the mistake as text, e.g. `sites.gpu.parent`."""
        return self.field

    def line(self) -> str:
        """The whole error in one line: where, what, remedy."""
        place = self.where()
        text = f"{place}: {self.problem}" if place else self.problem
        return f"{text}; {self.remedy}" if self.remedy else text


class FqcnError(UserError, ValueError):
    """A cell name outside the grammar of `zmqfl.fqcn`."""


class TopologyError(UserError):
    """A topology or settings file that cannot be used. Adds the fields `file` and `line` (1-based, 0 = unknown)."""

    def __init__(self, problem: str, *, file: str = "", line: int = 0, field: str = "", remedy: str = "") -> None:
        self.file = file
        self.line_number = line
        super().__init__(problem, field=field, remedy=remedy)

    def where(self) -> str:
        """`file:line: field`, as far as they are known."""
        place = f"{self.file}:{self.line_number}" if self.line_number else self.file
        return f"{place}: {self.field}" if place and self.field else place or self.field


class TopologyErrors(TopologyError):
    """All that was found wrong in a file: `errors`, in the order of its lines. It reads like the first of them."""

    def __init__(self, errors: Sequence[TopologyError]) -> None:
        self.errors = tuple(errors)
        first, more = errors[0], len(errors) - 1
        problem = f"{first.problem} (and {more} more)" if more else first.problem
        super().__init__(problem, file=first.file, line=first.line_number, field=first.field, remedy=first.remedy)


class KeyFileError(UserError):
    """A key that is missing, malformed, or readable by others. Adds the field `file`."""

    def __init__(self, problem: str, *, file: str, remedy: str = "") -> None:
        self.file = file
        super().__init__(problem, field=file, remedy=remedy)


class UsageError(ZmqflError):
    """The program called zmqfl in a way that cannot work; the message says what to call instead."""


class ArgumentError(UsageError, TypeError, ValueError):
    """An argument has the wrong type or value; the message names it."""


class SignatureError(ArgumentError):
    """The arguments of a call do not fit the signature of the remote method; it was not called.

    Fields: `method`, and `parameter`, the name of the one that is wrong ("" where the fault is in no single one).
    """

    def __init__(self, problem: str, *, method: str = "", parameter: str = "") -> None:
        self.problem = problem
        self.method = method
        self.parameter = parameter
        super().__init__(f"{method}: {problem}" if method else problem)


class ClosedError(UsageError):
    """The cell is stopped or not started."""


class ForkedError(UsageError):
    """The cell was made in another process: after a fork its sockets and threads do not exist here."""


class WouldDeadlockError(UsageError):
    """Waiting in this thread would stop the very work that is waited for."""


class PayloadError(ZmqflError):
    """A value and its bytes do not fit together."""


class EncodeError(PayloadError, TypeError):
    """Local: this value cannot travel; the message names its type and its place inside the payload."""


class DecodeError(PayloadError, ValueError):
    """Remote: the bytes are not what they claim to be. Nothing was allocated on their word."""


class ProtocolError(ZmqflError):
    """A rule of `docs/protocol.md` was broken."""


class LocalProtocolError(ProtocolError):
    """We broke it: a bug in zmqfl."""


class RemoteProtocolError(ProtocolError):
    """The peer broke it: its message is dropped and counted."""


class RequestFailed(ZmqflError):
    """A request ended without an OK reply.

    Fields: `target` (FQCN), `code` (`CellReturnCode`), `reason` (text of the cell that decided it).
    """

    code = CellReturnCode.PROCESS_EXCEPTION

    def __init__(self, reason: str = "", *, target: str = "", code: CellReturnCode | None = None) -> None:
        self.reason = reason
        self.target = target
        if code is not None:
            self.code = code
        super().__init__(f"{target}: {self.code}: {reason}" if target else f"{self.code}: {reason}")


class ServiceUnavailable(RequestFailed):
    """Raised by a handler that cannot serve now."""

    code = CellReturnCode.SERVICE_UNAVAILABLE


class InvalidRequest(RequestFailed):
    """Raised by a handler that does not understand the request."""

    code = CellReturnCode.INVALID_REQUEST


class InvalidSession(RequestFailed):
    """Raised by a handler when the caller's session is not valid."""

    code = CellReturnCode.INVALID_SESSION


class AuthenticationError(RequestFailed):
    """Raised by a handler or filter that does not accept who is asking."""

    code = CellReturnCode.AUTHENTICATION_ERROR


class AbortRun(RequestFailed):
    """Raised by a handler to tell the caller that the run is over."""

    code = CellReturnCode.ABORT_RUN


class RpcTimeout(RequestFailed, TimeoutError):
    """A remote method, or the next item of a remote generator, took longer than the call allows."""

    code = CellReturnCode.TIMEOUT


class NoSuchMethod(RequestFailed, AttributeError):
    """The cell publishes no method of that name, or not to this caller."""

    code = CellReturnCode.INVALID_REQUEST


class RemoteError(RequestFailed):
    """A remote method raised something that has no counterpart here; else it is the cause of that.

    Fields: `type_name` (of what was raised, with its module; "" where it returned what cannot travel), `message`,
    `remote_traceback` (text, files without their folders; may be empty).
    """

    def __init__(self, type_name: str, message: str, *, target: str = "", remote_traceback: str = "") -> None:
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback
        super().__init__(": ".join(filter(None, (type_name, message))), target=target)


class TransferError(ZmqflError):
    """A push or pull did not end well.

    Fields: `code` (`CellReturnCode`), `culprit` (FQCN of the cell where it failed; may be empty), `reason`.
    """

    def __init__(self, reason: str, *, code: CellReturnCode, culprit: str = "") -> None:
        self.reason = reason
        self.code = code
        self.culprit = culprit
        super().__init__(f"{culprit}: {code}: {reason}" if culprit else f"{code}: {reason}")


class ChannelError(ZmqflError):
    """A channel cannot be used so.

    Fields: `channel` (its name, "" when it is about none), `broker` (FQCN of the cell that it is at), `reason`.
    """

    def __init__(self, reason: str, *, channel: str = "", broker: str = "") -> None:
        self.reason = reason
        self.channel = channel
        self.broker = broker
        place = f"channel {channel!r} at {broker}" if channel else broker
        super().__init__(f"{place}: {reason}" if place else reason)


class ChannelExistsError(ChannelError):
    """There is a channel of this name already."""


class ChannelUnknownError(ChannelError):
    """There is no such channel, or it is private and the key is wrong: which of both nobody is told."""


class ChannelDeniedError(ChannelError):
    """Only the owner of a channel may delete it, and write to it when it has a single writer."""


class ChannelEndedError(ChannelError):
    """The channel has ended; `reason`: deleted, expired, or who is gone."""


class BufferFullError(ChannelError):
    """An item was refused: by the full buffers of readers that want their writers to know, or as too large for them.

    Adds the field `readers`: their FQCNs.
    """

    def __init__(self, reason: str, *, channel: str = "", broker: str = "", readers: tuple[str, ...] = ()) -> None:
        self.readers = readers
        super().__init__(reason, channel=channel, broker=broker)


class BlobError(ZmqflError):
    """The bytes of a transfer cannot be read or written.

    Fields: `problem` (what is wrong), `file` (path or name), `remedy` (what to do; may be empty).
    """

    def __init__(self, problem: str, *, file: str, remedy: str = "") -> None:
        self.problem = problem
        self.file = file
        self.remedy = remedy
        super().__init__(self.line())

    def line(self) -> str:
        """The whole error in one line: which file, what, remedy."""
        text = f"{self.file}: {self.problem}"
        return f"{text}; {self.remedy}" if self.remedy else text

    def told(self) -> str:
        """The same for other cells: without the folder of this machine."""
        text = f"{self.file.rpartition('/')[2]}: {self.problem}"
        return f"{text}; {self.remedy}" if self.remedy else text


def told(error: BaseException) -> str:
    """What another cell may know of an error here; never empty."""
    if isinstance(error, BlobError):
        return error.told()
    text = str(error)
    return text if text and isinstance(error, ZmqflError) else f"{type(error).__name__}: {text}"


class SourceError(BlobError):
    """The source cannot be read: it vanished, may not be read, or is no regular file."""


class SourceChangedError(SourceError):
    """The source was replaced, modified or cut short since it was opened: its chunks no longer fit together."""


class SinkError(BlobError):
    """The sink cannot be written: the disk is full, the folder read-only or missing, the name refused or taken."""


class DigestError(BlobError):
    """Bytes differ from their digest: they were damaged on the way, or on the disk."""
