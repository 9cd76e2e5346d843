"""A site that learns digits: it trains the server's model on its own images, which stay where they are."""

from typing import Any

from digits_data import part_of
from digits_model import DigitsModel

from zmqfl import FLContext, ReturnCode, Shareable, Signal
from zmqfl.context.shareable import make_reply
from zmqfl.fl.dxo import DXO, DataKind, MetaKey, from_shareable
from zmqfl.fl.executor import Executor


class DigitsLearner(Executor):
    """`epochs`: how often it goes through its images in a round. `sites`: among how many the images are split."""

    def __init__(self, model: DigitsModel, epochs: int = 2, sites: int = 3) -> None:
        self.model = model
        self.epochs = epochs
        self.sites = sites

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        if task_name != "train":
            return make_reply(ReturnCode.TASK_UNKNOWN)
        images = part_of(fl_ctx.get_identity_name(), self.sites)
        task = from_shareable(shareable)
        weights: dict[str, Any] = task.data  # ours: they came over the network
        number = task.get_meta_prop(MetaKey.CURRENT_ROUND)
        steps = self.model.train(weights, images, self.epochs, seed=1000 * number + len(images.y))
        accuracy = self.model.accuracy(weights, images)
        self.log_info(fl_ctx, f"round {number}: {steps} steps on {len(images.y)} images, own accuracy {accuracy:.3f}")
        return DXO(DataKind.WEIGHTS, weights, {MetaKey.NUM_STEPS_CURRENT_ROUND: steps}).to_shareable()
