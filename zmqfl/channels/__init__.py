"""The names of seed 002 over channels and RPC of cells: `StreamServer`, `StreamClient_Thread`.

    stream_server       StreamServer: a broker in a process of its own
    server_functions    what others may call of it: channels, clients, statistics
    statistics_channel  the counts of its channels as a channel
    stream_client       StreamClient_Thread: a client as a thread; subclasses add `rpc_` methods

A program that has a cell needs none of this: `cell.create_channel`, `cell.subscribe` and `Rpc` are the same.
"""
