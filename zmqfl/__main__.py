"""`python -m zmqfl` is `zmqfl`."""

from zmqfl.cli.main import app_main

app_main()
