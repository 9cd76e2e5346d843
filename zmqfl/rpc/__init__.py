"""The RPC floor: methods of one cell, called from another as if they were local.

    rpc             Rpc: publish an object, get a proxy of another cell's

    caller                                              callee
    proxy           Proxy, Method: what a user calls    publication     an object and what of it may be called
    caller          sends a call, reads its reply       callee          runs a call
    remote_stream   RemoteStream: items of a generator  generators      the generators that callers read from
                                                        supply          how far one runs, and who gets its items
                                                        caller_watch    who has calls under way, and is it alive
                                                        watching        asks whether it is, and answers

    signatures      MethodDescription: a signature that travels, and arguments that fit it
    remote_errors   what a method raised, and what its caller sees
    access          who may call what
    running         the call that runs now: `current_call`
    method_statistics  what was called how often
    names           channels, topics, and what a call looks like on the wire

Calls are requests of a channel of their own, so what requests guarantee holds for them: each runs at most once, fails
at once when its target is gone, and takes large arguments by reference. Its users import from these modules.
"""
