"""Remote methods that are called like local ones: checked arguments, errors, a generator, and who may call what."""

from collections.abc import Iterator

from zmqfl import Cell, Rpc, RpcTimeout, SignatureError, current_call


class Trigonometry:
    def rpc_half_turn(self) -> float:
        return 180.0


class Calculator:
    """Methods whose names begin with rpc_ can be called from other cells; so can those of `rpc_` attributes."""

    def __init__(self) -> None:
        self.rpc_trig = Trigonometry()

    def rpc_divide(self, a: float, b: float = 2.0) -> float:
        """Divide a by b."""
        return a / b

    def rpc_squares(self, n: int) -> Iterator[int]:
        yield from (number * number for number in range(n))

    def rpc_wait(self) -> None:
        current_call().wait()  # until nobody waits for this call any more

    def rpc_reset(self) -> None:
        raise AssertionError("no other cell may call this")


with Cell("server", listen="tcp://127.0.0.1:0") as server, Cell("site-1", parent=server.url) as site:
    Rpc(site).publish(Calculator(), access={"[!r]*": "*"})  # all but `reset`
    calc = Rpc(server, timeout=5).proxy("site-1").result()
    for method in calc:
        print("published:", method)
    print("7 / 2 =", calc.divide(7))
    print("half a turn:", calc.trig.half_turn())
    print("squares:", list(calc.squares(5)))
    try:
        calc.divide(1, c=2)
    except SignatureError as error:
        print("not sent:", error.parameter)
    try:
        calc.divide(1, 0)
    except ZeroDivisionError as error:
        print("raised there:", error)
    try:
        calc.wait(tto=0.1)
    except RpcTimeout:
        print("waited a tenth of a second")
