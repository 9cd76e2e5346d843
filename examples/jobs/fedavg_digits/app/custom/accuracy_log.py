"""The server's component that tests the model after each round, and draws what came of it.

RUN/accuracy.csv   round, accuracy, steps of all sites, and `central`: the accuracy of a model that has learned
                   from all images in one place
RUN/accuracy.svg   the same as a plot
"""

from pathlib import Path
from typing import Any

from digits_data import load
from digits_model import DigitsModel

from zmqfl import AppConstants, FLComponent, FLContext
from zmqfl.context.event_type import EventType
from zmqfl.fl.fedavg import GLOBAL_MODEL, ROUND_DONE

WIDTH, HEIGHT, MARGIN = 640, 360, 50
CENTRAL_EPOCHS = 40


class AccuracyLog(FLComponent):
    def __init__(self, model: DigitsModel) -> None:
        self.model = model
        self.rows: list[tuple[int, float, int]] = []
        self.central = 0.0

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN:
            train, test = load()
            weights = self.model.initial_weights()
            self.model.train(weights, train, CENTRAL_EPOCHS, seed=0)
            self.central = self.model.accuracy(weights, test)
            self.log_info(fl_ctx, f"trained on all images in one place: accuracy {self.central:.4f}")
        elif event_type == ROUND_DONE:
            _, test = load()
            accuracy = self.model.accuracy(fl_ctx.get_prop(GLOBAL_MODEL), test)
            number, steps = fl_ctx.get_prop(AppConstants.CURRENT_ROUND), AppConstants.NUM_STEPS_CURRENT_ROUND
            self.rows.append((number, accuracy, fl_ctx.get_prop(steps)))
            self.log_info(fl_ctx, f"round {number}: accuracy {accuracy:.4f}, in one place {self.central:.4f}")
            self.write(Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())))

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        return {"rows": self.rows}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Go on where the server was, when it has been started again."""
        self.rows = [(number, accuracy, steps) for number, accuracy, steps in state_data["rows"]]

    def write(self, folder: Path) -> None:
        lines = [f"{number},{accuracy:.4f},{steps},{self.central:.4f}\n" for number, accuracy, steps in self.rows]
        (folder / "accuracy.csv").write_text("round,accuracy,steps,central\n" + "".join(lines))
        (folder / "accuracy.svg").write_text(plot([accuracy for _, accuracy, _ in self.rows], self.central))


def plot(values: list[float], level: float) -> str:
    """A line for `values`, which are from 0 to 1, and a dashed one for `level`, as SVG."""

    def x(i: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * i / max(1, len(values) - 1)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value

    def text(at_x: float, at_y: float, words: str, anchor: str = "end") -> str:
        return f'<text x="{at_x:.0f}" y="{at_y:.0f}" text-anchor="{anchor}">{words}</text>'

    right = WIDTH - MARGIN
    points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">',
            f'<path d="M{MARGIN} {y(1)}V{y(0)}H{right}" fill="none" stroke="black"/>',
            *(text(MARGIN - 6, y(tick / 5) + 4, f"{tick / 5:.1f}") for tick in range(6)),
            text(WIDTH / 2, HEIGHT - 12, f"round 0 to {len(values) - 1}: accuracy on the test images", "middle"),
            f'<path d="M{MARGIN} {y(level):.1f}H{right}" stroke="gray" stroke-dasharray="4"/>',
            text(right, y(level) - 6, f"all images in one place: {level:.3f}"),
            f'<polyline points="{points}" fill="none" stroke="orange" stroke-width="2"/>',
            text(right, y(values[-1]) + 18, f"federated: {values[-1]:.3f}"),
            "</svg>\n",
        ]
    )
