"""What the components of a run are served with: contexts, each other, the other sites by their names in the run.

    targets at a client          at the server
    None      the server         all clients
    "@ALL"    all other sites    all clients
    names, "server"              names

Source: reference "flare" 2.8, 6.7.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.context.event_type import EventType
from zmqfl.context.events import fire_event
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.shareable import Shareable
from zmqfl.context.workspace import Workspace
from zmqfl.fl.client import Client
from zmqfl.fl.snapshot import RunSnapshot
from zmqfl.streaming.cell_engine import CellEngine, Targets

SERVER: Final = "server"
SERVER_NAMES: Final = ("server", "server_parent")
ALL_SITES: Final = "@ALL"


class RunEngine(CellEngine):
    """See the module. `cells`: name of a site in the run -> name of its cell; the server is called "server"."""

    def __init__(
        self, cell: Cell, name: str, job_id: str, cells: Mapping[str, str], workspace: Workspace | None
    ) -> None:
        self.cells = dict(cells)
        self.on_fatal: Callable[[str], object] = _nothing
        """Called with the reason of a FATAL_SYSTEM_ERROR, after its handlers."""
        self.on_fed_event: Callable[[str, Shareable, list[str] | None], object] = _nothing
        self._listeners: list[FLComponent] = []
        super().__init__(cell, name, job_id, workspace)

    # -- the sites of the run ----------------------------------------------------------------------------------------

    def cell_of(self, target: str) -> str:
        """The cell of a site; a name that is no site's counts as that of a cell."""
        return self.cells.get(SERVER if target.lower() in SERVER_NAMES else target, target)

    def site_at(self, fqcn: str) -> str | None:
        """The site whose cell this is."""
        return next((name for name, cell in self.cells.items() if cell == fqcn), None)

    def get_clients(self) -> list[Client]:  # type: ignore[override]  # a run knows more of them than their names
        """The clients of the run."""
        return [Client(name, fqcn=cell) for name, cell in self.cells.items() if name != SERVER]

    def validate_targets(  # type: ignore[override]  # as above
        self, target_names: Iterable[str]
    ) -> tuple[list[Client], list[str]]:
        """(clients that may be targets, names that no client has)."""
        clients = {client.name: client for client in self.get_clients()}
        names = list(target_names)
        return [clients[name] for name in names if name in clients], [name for name in names if name not in clients]

    def client(self, name: str) -> Client:
        """A client by its name."""
        return Client(name, fqcn=self.cell_of(name))

    # -- events ------------------------------------------------------------------------------------------------------

    @property
    def components(self) -> dict[str, Any]:
        """All components by their ids."""
        return dict(self._components)

    def add_listener(self, component: FLComponent) -> None:
        """Have a component hear events that is not found by an id."""
        self._listeners.append(component)

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Have the components hear an event, in the order of their coming; the run ends with FATAL_SYSTEM_ERROR."""
        known = [each for each in self._components.values() if isinstance(each, FLComponent)]
        heard = {id(each): each for each in (*known, *self._listeners)}
        reason = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
        fire_event(event_type, heard.values(), fl_ctx)
        if event_type == EventType.FATAL_SYSTEM_ERROR:
            self.on_fatal(str(reason))

    def panic(self, reason: str, fl_ctx: FLContext) -> None:
        """End the whole run."""
        fl_ctx.put(FLContextKey.EVENT_DATA, reason, private=True, sticky=False)
        self.fire_event(EventType.FATAL_SYSTEM_ERROR, fl_ctx)

    def send_fed_event(self, event_type: str, event_data: Shareable, targets: list[str] | None) -> None:
        """Have other sites hear an event; see `FLComponent.fire_fed_event`, which calls it."""
        self.on_fed_event(event_type, event_data, targets)

    # -- within ------------------------------------------------------------------------------------------------------

    def note(self, public: Mapping[str, Any], private: Mapping[str, Any]) -> None:
        """Put props into all contexts that are made from now on."""
        with self.new_context() as fl_ctx:
            for props, is_private in ((public, False), (private, True)):
                for key, value in props.items():
                    fl_ctx.set_prop(key, value, private=is_private, sticky=True)

    def _names_of(self, targets: Targets) -> str | list[str]:
        if targets is None:
            return self._everybody()
        if targets == ALL_SITES:
            return [name for name, cell in self.cells.items() if cell != self.get_cell().fqcn]
        return targets if isinstance(targets, str) else list(targets)

    @abstractmethod
    def _everybody(self) -> str | list[str]:
        """Whom a message without targets is for."""


class ServerEngine(RunEngine):
    """The engine of a run's server."""

    def __init__(
        self, cell: Cell, name: str, job_id: str, cells: Mapping[str, str], workspace: Workspace | None
    ) -> None:
        self.on_persist: Callable[[FLContext, bool], object] = _nothing
        super().__init__(cell, name, job_id, cells, workspace)

    def persist_components(self, fl_ctx: FLContext, completed: bool = False) -> None:
        """Write down the state of all components, so that a server that is started again goes on from here.

        A controller calls it after each round. `completed`: the run has ended, nothing is to be taken up.
        """
        self.on_persist(fl_ctx, completed)

    def restore_components(self, snapshot: RunSnapshot, fl_ctx: FLContext) -> None:
        """Have the components take up what a snapshot knows of them; the runner does it before START_RUN."""
        for id, state in snapshot.component_states.items():
            component = self.get_component(id)
            if isinstance(component, FLComponent):
                component.restore(state, fl_ctx)

    def _everybody(self) -> list[str]:
        return [name for name in self.cells if name != SERVER]


class ClientEngine(RunEngine):
    """The engine of a run's client."""

    def fire_and_forget_aux_request(  # type: ignore[override]  # FLARE's clients have no other target
        self, topic: str, request: Shareable, fl_ctx: FLContext, optional: bool = False, secure: bool = False
    ) -> dict[str, str]:
        """Send to the server without waiting for it; see `AuxMessages.fire_and_forget_aux_request`."""
        return super().fire_and_forget_aux_request(SERVER, topic, request, fl_ctx, optional, secure)

    def _everybody(self) -> str:
        return SERVER


def _nothing(*_: object) -> None:
    """Nobody has said what is to be done."""
