"""One module per peer: `python -m tests.bench.peers.NAME server|client ...`, each in the environment of its peer."""
