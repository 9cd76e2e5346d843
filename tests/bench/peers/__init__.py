"""One module per peer: `python -m tests.bench.peers.NAME server|client ...`. Each runs in the environment of its peer."""
