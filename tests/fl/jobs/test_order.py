from __future__ import annotations

from pathlib import Path

from zmqfl.fl.jobs.order import JobOrder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    order = JobOrder(
        job_id="j", site="site-1", role="client", workspace="/w", server="server", clients={"site-1": "site-1.j"},
        min_clients=2, simulated=True, slots="/s", args={"a": [1]},
    )  # fmt: skip
    order.write(tmp_path / "order.json")
    assert JobOrder.read(tmp_path / "order.json") == order
    assert [file.name for file in tmp_path.iterdir()] == ["order.json"]
