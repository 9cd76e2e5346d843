"""What the components of a run share while they work on one thing: props, each a named value with two attributes.

    private   only for this process          public       goes to the peer too
    sticky    for all contexts made later    non-sticky   for this context only

A manager makes the contexts of its process, each with the sticky props of that moment. What is set in a context goes
back to the manager when the context is finalised: at the end of its `with` block, also after an exception, or by
`sync_sticky()`. Only what was set in this context goes back; the last one to finalise wins.

    with engine.new_context() as fl_ctx:
        fl_ctx.set_prop("model", model)
        fl_ctx.set_prop("round", 3, private=False, sticky=False)

`FLContextManager(sticky_sync="immediate")` has FLARE's newer rule instead: a sticky prop is in the manager, and seen by
every other context, when `set_prop` returns.

One thread at a time works with a context; it has a lock for those that only look. Source: seed 003, reference "flare"
1 with the bugs of 1.6 and 1.7 not copied.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, get_args

from zmqfl.context.keys import ReservedKey, is_reserved
from zmqfl.context.permanent_props import PermanentProps
from zmqfl.context.stickers import Prop, Stickers
from zmqfl.errors import ArgumentError

log = logging.getLogger("zmqfl.context")

StickySync = Literal["finalize", "immediate"]

_READ_ONLY = "this is the context of a peer, which is read-only"


class FLContext(PermanentProps):
    """See the module. Get one by `engine.new_context()`: what `FLContext()` makes has no manager to write back to."""

    def __init__(self) -> None:
        self.model: Any = None
        self.logger = log
        self._lock = threading.Lock()
        self._props: dict[str, Prop] = {}
        self._changed: dict[str, Prop] = {}
        """Sticky props that were set here and are not in the manager yet."""
        self._frozen = False

    # -- props -----------------------------------------------------------------------------------------------------

    def set_prop(self, key: str, value: Any, private: bool = True, sticky: bool = True) -> bool:
        """Add a prop, or give it a new value.

        Returns False, with a warning and nothing changed, when the prop exists with other attributes, or when this is
        the context of a peer. Raises `ArgumentError` (a ValueError) for a key that is not a str.
        """
        if not isinstance(key, str):
            raise ArgumentError(f"the key of a prop must be a str, not {type(key).__name__}")
        problem = self._set(key, Prop(value, bool(private), bool(sticky)))
        if problem:
            self.logger.warning("prop %r was not set: %s", key, problem)
        elif sticky and (manager := self._manager()) is not None and manager.sticky_sync == "immediate":
            manager.synced((key,))  # not under the lock: it may do much
        return not problem

    def get_prop(self, key: str, default: Any = None) -> Any:
        """The value of a prop, None included; `default` where there is no such prop."""
        prop = self._find(key)
        return default if prop is None else prop.value

    def get_prop_detail(self, key: str) -> dict[str, Any] | None:
        """`{"value": ..., "private": bool, "sticky": bool}`, or None where there is no such prop."""
        prop = self._find(key)
        return None if prop is None else {"value": prop.value, "private": prop.private, "sticky": prop.sticky}

    def remove_prop(self, key: str, force_removal: bool = False) -> None:
        """Remove a prop from this context only; the manager keeps what it has.

        A reserved name (`__...`) stays unless `force_removal`; a prop that is not there is no error.
        """
        if not _is_removable(key, force_removal):
            return
        with self._lock:
            gone = () if self._frozen else (self._props.pop(key, None), self._changed.pop(key, None))
        if not gone:
            self.logger.warning("prop %r was not removed: %s", key, _READ_ONLY)

    def put(self, key: str, value: Any, private: bool, sticky: bool) -> None:
        """Write a prop whatever its attributes were; it is never written back. For the system itself."""
        with self._lock:
            old = self._props.get(key), self._changed.get(key)
            if not self._frozen:
                self._props[key] = Prop(value, private, sticky)
                self._changed.pop(key, None)
        del old  # not under the lock: these are the user's objects
        if self._frozen:
            self.logger.warning("prop %r was not put: %s", key, _READ_ONLY)

    def get_prop_keys(self) -> list[str]:
        """The names of all props here, in the order of their coming."""
        with self._lock:
            return list(self._props)

    def public_key_exists(self, key: str) -> bool:
        """Whether there is a public prop of this name."""
        return (prop := self._find(key)) is not None and not prop.private

    def get_all_public_props(self) -> dict[str, Any]:
        """What the peer may see: the public props and their values."""
        with self._lock:
            props = dict(self._props)
            shared = self._shared()
        if shared is not None:
            props |= {key: prop for key, prop in shared.snapshot().items() if key not in props or props[key].sticky}
        return {key: prop.value for key, prop in props.items() if not prop.private}

    def set_public_props(self, public_props: Mapping[str, Any]) -> None:
        """Put these in the place of the public props, as public and non-sticky.

        Sticky and reserved props stay, and so does a prop that is private here: a warning names it.
        """
        with self._lock:
            gone = (
                {} if self._frozen else {key: prop for key, prop in self._props.items() if _is_replaceable(key, prop)}
            )
            for key in gone:
                del self._props[key]
        for key, value in public_props.items():
            self.set_prop(key, value, private=False, sticky=False)

    def set_custom_prop(self, key: str, value: Any) -> None:
        """Set a value in a dict of its own, private and non-sticky, which clones share."""
        if self._frozen:
            self.logger.warning("custom prop %r was not set: %s", key, _READ_ONLY)
            return
        with self._lock:
            prop = self._props.setdefault(ReservedKey.CUSTOM_PROPS, Prop({}, private=True, sticky=False))
        prop.value[key] = value

    def get_custom_prop(self, key: str, default: Any = None) -> Any:
        """A value that `set_custom_prop` set."""
        return self.get_prop(ReservedKey.CUSTOM_PROPS, {}).get(key, default)

    # -- the peer -----------------------------------------------------------------------------------------------------

    def set_peer_context(self, ctx: FLContext | None) -> None:
        """Say what is known of the peer; `ctx` is read-only from now on. None: nothing is."""
        if ctx is not None and not isinstance(ctx, FLContext):
            raise ArgumentError(f"a peer context must be an FLContext, not {type(ctx).__name__}")
        if ctx is not None:
            ctx.freeze()
        self.put(ReservedKey.PEER_CTX, ctx, private=True, sticky=False)

    def get_peer_context(self) -> FLContext | None:
        """The public props of the peer whose message is worked on, read-only; None where there is no such message."""
        ctx: FLContext | None = self.get_prop(ReservedKey.PEER_CTX)
        return ctx

    # -- life --------------------------------------------------------------------------------------------------------

    def sync_sticky(self) -> None:
        """Write the sticky props that were set here back to the manager. The end of a `with` block does it.

        A prop that the manager has with another visibility costs a warning, and the manager keeps its own.
        """
        with self._lock:
            manager = self._manager()
            if manager is None:
                return
            changed, self._changed = self._changed, {}
        for key in manager.stickers.write(changed):
            self.logger.warning("sticky prop %r was not written back: the manager has it with another visibility", key)
        if changed:
            manager.synced(changed)

    def clone(self) -> FLContext:
        """A context with the same props, manager and model, for another thread. What one sets the other does not see.

        Sticky props that were set here go back from here; the clone writes back what is set in it.
        """
        twin = FLContext()
        with self._lock:
            twin._props = dict(self._props)
        twin.model, twin.logger = self.model, self.logger
        return twin

    def freeze(self) -> None:
        """Make it read-only for good."""
        self._frozen = True

    @property
    def is_frozen(self) -> bool:
        """Whether it is read-only."""
        return self._frozen

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.sync_sticky()

    def __str__(self) -> str:
        with self._lock:
            return " ".join(f"{key}: {type(prop.value)}" for key, prop in self._props.items())

    def __repr__(self) -> str:
        who = f"{self.get_identity_name() or '?'} job {self.get_job_id() or '?'}"
        return f"<FLContext {who}, {len(self._props)} props{', read-only' if self._frozen else ''}>"

    # -- within ------------------------------------------------------------------------------------------------------

    def _set(self, key: str, prop: Prop) -> str:
        """Returns "" or what is in the way."""
        with self._lock:
            if self._frozen:
                return _READ_ONLY
            old = self._props.get(key)  # held until the lock is free: its value is the user's object
            if old is not None and not old.is_alike(prop):
                return f"it exists with attributes {old.attributes}, which never change, not {prop.attributes}"
            if prop.sticky and (shared := self._shared()) is not None:
                if shared.write({key: prop}):
                    return "the manager has it with another visibility"
            elif prop.sticky:
                self._changed[key] = prop
            self._props[key] = prop
        return ""

    def _find(self, key: str) -> Prop | None:
        with self._lock:
            prop = self._props.get(key)
            shared = self._shared()
            if shared is None or (prop is not None and not prop.sticky) or (found := shared.find(key)) is None:
                return prop
            self._props[key] = found
        return found

    def _manager(self) -> FLContextManager | None:
        prop = self._props.get(ReservedKey.MANAGER)
        return prop.value if prop is not None and isinstance(prop.value, FLContextManager) else None

    def _shared(self) -> Stickers | None:
        """The manager's sticky props, where they are read and written at once."""
        manager = self._manager()
        return manager.stickers if manager is not None and manager.sticky_sync == "immediate" else None


class FLContextManager:
    """Makes the contexts of one process, and keeps what is sticky between them.

    `engine`, `identity_name`, `job_id`: what each context is given. `public_stickers`, `private_stickers`: sticky props
    from the beginning; a name in both is private. `sticky_sync`: when sticky props get here, see the module.
    `synced`: called with the names of sticky props after they got here or were removed, in the thread that did it.
    Raises `ArgumentError` for stickers that are no dict, and for another `sticky_sync`.
    """

    def __init__(
        self,
        engine: Any = None,
        identity_name: str = "",
        job_id: str = "",
        public_stickers: dict[str, Any] | None = None,
        private_stickers: dict[str, Any] | None = None,
        sticky_sync: StickySync = "finalize",
        synced: Callable[[Iterable[str]], object] = lambda keys: None,
    ) -> None:
        for name, given in ("public_stickers", public_stickers), ("private_stickers", private_stickers):
            if given is not None and not isinstance(given, dict):
                raise ArgumentError(f"{name} must be a dict, not {type(given).__name__}")
        if sticky_sync not in get_args(StickySync):
            raise ArgumentError(f"sticky_sync must be one of {', '.join(get_args(StickySync))}, not {sticky_sync!r}")
        self.engine = engine
        self.identity_name = identity_name
        self.job_id = job_id
        self.sticky_sync = sticky_sync
        self.synced = synced
        self.stickers = Stickers(public_stickers or {}, private_stickers or {})

    def new_context(self) -> FLContext:
        """A context with the permanent props and all that is sticky now."""
        ctx = FLContext()
        ctx.put(ReservedKey.MANAGER, self, private=True, sticky=False)
        ctx.put(ReservedKey.ENGINE, self.engine, private=True, sticky=False)
        ctx.put(ReservedKey.RUN_NUM, self.job_id, private=False, sticky=True)
        if self.identity_name:
            ctx.put(ReservedKey.IDENTITY_NAME, self.identity_name, private=False, sticky=False)
        for key, prop in self.stickers.snapshot().items():
            ctx.put(key, prop.value, prop.private, prop.sticky)
        return ctx

    def remove_sticker(self, key: str) -> bool:
        """Forget a sticky prop: contexts made from now on do not have it. Whether there was one."""
        removed = self.stickers.remove(key)
        self.synced((key,))
        return removed

    def __repr__(self) -> str:
        return f"<FLContextManager {self.identity_name or '?'} job {self.job_id or '?'}, {len(self.stickers)} stickers>"


def _is_removable(key: object, force: bool) -> bool:
    return isinstance(key, str) and (force or not is_reserved(key))


def _is_replaceable(key: str, prop: Prop) -> bool:
    return not (prop.private or prop.sticky or is_reserved(key))
