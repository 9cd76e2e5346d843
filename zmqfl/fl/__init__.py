"""The fl floor: what makes a federation of cells train together.

    task             Task, ClientTask, TaskCompletionStatus, SendOrder
    client           Client
    dxo              DXO, DataKind, MetaKey
    controller       Controller
    executor         Executor
    filter           Filter
    task_filters     which filters see a task, at which side
    task_router      which executor does a task
    task_plans       how a task is given to clients, and when it has ended
    relay_plan       so for a task that goes from one to the next
    task_board       the standing tasks and the clients that ask: a machine without I/O
    communicator     has the board obeyed: callbacks, threads, deadlines
    run_messages     what server and clients say to each other
    task_service     what the server answers
    result_intake    what it does with results
    presence         whether clients are there
    task_exchange    how a client talks with the server
    task_execution   a task at its client
    fed_events       events that other sites hear, too
    run_engine       RunEngine, ServerEngine, ClientEngine
    run_props        the props of each context
    run_settings     RunSettings
    run_end          the last moments of a run
    snapshot         what survives a restart of the server
    runner           what both sides of a run have in common
    server_runner    ServerRunner
    client_runner    ClientRunner
    fedavg           FedAvg: federated averaging as a controller
    weighted_mean    the mean of models as they come
    model_persistor  a model in a file that is replaced as a whole

Jobs, which are made of all that, are in `zmqfl.fl.jobs`.

Its users import from these modules.
"""
