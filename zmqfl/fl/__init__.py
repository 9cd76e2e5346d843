"""The fl floor: what makes a federation of cells train together.

task, client, dxo, filter, executor, controller    what applications write and fill
task_board, task_plans   which client is given which task: a table of states, without I/O
communicator             has the board obeyed: callbacks, threads, deadlines
task_service             what the server answers to its clients
server_runner, server_engine       one run at the server
client_runner, client_engine, task_execution, task_exchange     one run at a client
fed_events               events that other sites hear, too
snapshot                 what survives a restart of the server
run_settings, run_context, task_filters, task_router, presence   what these are made of
"""
