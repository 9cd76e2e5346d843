"""Files go from the server to all clients, and from each client to the server, by the streamer itself.

Components do it when the run starts; nobody is given a task.

    client   START_RUN   registers the reception, tells the server that it is ready, and streams its file to it
    server   START_RUN   registers the reception; once all clients are ready it streams its file to all of them at once
"""

import hashlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from zmqfl import FileStreamer, FLComponent, FLContext, ReturnCode, Shareable, Signal
from zmqfl.context.event_type import EventType
from zmqfl.context.shareable import make_reply
from zmqfl.fl.controller import Controller
from zmqfl.fl.executor import Executor

CHANNEL, TOPIC, READY = "file_streaming", "file", "file_streaming.ready"
SERVER = "server"


class FileReceiver(FLComponent):
    """Takes files, checks them, and removes them again."""

    def __init__(self) -> None:
        self.received: dict[str, bool] = {}
        """Name of a sender -> whether its file came as it was."""
        self.changed = threading.Condition()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN:
            FileStreamer.register_stream_processing(fl_ctx, CHANNEL, TOPIC, stream_done_cb=self.done)

    def done(self, stream_ctx: dict[str, Any], fl_ctx: FLContext, **kwargs: Any) -> None:
        rc, is_right = FileStreamer.get_rc(stream_ctx), False
        if rc == ReturnCode.OK:
            file = Path(FileStreamer.get_file_location(stream_ctx))
            is_right = digest(file) == stream_ctx["digest"]
            self.log_info(fl_ctx, f"received {file.stat().st_size} bytes of {stream_ctx['sender']}, right: {is_right}")
            file.unlink()
        else:
            self.log_error(fl_ctx, f"the file of {stream_ctx['sender']} did not come: {rc}")
        with self.changed:
            self.received[stream_ctx["sender"]] = is_right
            self.changed.notify_all()


class FileSender(FLComponent):
    """Makes a temporary file of `size` bytes, and streams it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ready: set[str] = set()
        self.sent: ReturnCode | None = None
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        engine, name = fl_ctx.get_engine(), fl_ctx.get_identity_name()
        if event_type == EventType.START_RUN and name == SERVER:
            engine.register_aux_message_handler(READY, self.client_is_ready)
        elif event_type == EventType.START_RUN:
            replies = engine.send_aux_request(SERVER, READY, Shareable({"name": name}), 10.0, fl_ctx)
            if replies[SERVER].get_return_code() != ReturnCode.OK:
                self.system_panic(f"the server is not ready: {replies[SERVER].get_return_code()}", fl_ctx)
            self.begin(engine, [SERVER])
        elif event_type == EventType.END_RUN and self.thread is not None:
            self.thread.join()

    def client_is_ready(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        engine = fl_ctx.get_engine()
        clients = {client.name for client in engine.get_clients()}
        with self.lock:
            self.ready.add(request["name"])
            if self.ready == clients and self.thread is None:
                self.begin(engine, sorted(clients))
        return make_reply(ReturnCode.OK)

    def begin(self, engine: Any, targets: list[str]) -> None:
        """On a thread of its own: an event, and a message, must be handled soon."""
        self.thread = threading.Thread(target=self.send, args=(engine, targets))
        self.thread.start()

    def send(self, engine: Any, targets: list[str]) -> None:
        with tempfile.NamedTemporaryFile(prefix="streamed-") as file, engine.new_context() as fl_ctx:
            file.write(os.urandom(self.size))
            file.flush()
            told = {"sender": fl_ctx.get_identity_name(), "digest": digest(Path(file.name))}
            self.sent, _ = FileStreamer.stream_file(CHANNEL, TOPIC, told, targets, file.name, fl_ctx)
            self.log_info(fl_ctx, f"sent {self.size} bytes to {', '.join(targets)}: {self.sent}")


class TransferWaiter(Controller):
    """No training: the run lasts until the server has the file of each client, and all of them have its own."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        engine = fl_ctx.get_engine()
        receiver: FileReceiver = engine.get_component("receiver")
        sender: FileSender = engine.get_component("sender")
        clients = {client.name for client in engine.get_clients()}

        def wake(signal: Signal) -> None:
            with receiver.changed:
                receiver.changed.notify_all()

        abort_signal.add_callback(wake)
        with receiver.changed:
            receiver.changed.wait_for(lambda: receiver.received.keys() >= clients or abort_signal.triggered)
        abort_signal.remove_callback(wake)
        if abort_signal.triggered:
            return
        assert sender.thread is not None  # every client has said that it is ready before it sent its file
        sender.thread.join()
        if sender.sent != ReturnCode.OK or not all(receiver.received.values()):
            self.system_panic(f"sent: {sender.sent}, received: {receiver.received}", fl_ctx)


class DummyExecutor(Executor):
    """A client must have one."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        return make_reply(ReturnCode.TASK_UNKNOWN)


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
