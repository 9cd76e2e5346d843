"""The context floor: what the components of a run share, and what of it they show to their peers.

    keys             FLContextKey, ReservedKey, AppConstants, NON_SERIALIZABLE_KEYS, ProcessType, EventScope, ...
    return_code      ReturnCode, return_code_of
    signal           Signal
    fl_context       FLContext, FLContextManager
    permanent_props  the getters that FLContext inherits
    stickers         Prop, Stickers: what the contexts of one manager share
    peer_context     public_props_of, peer_context_of
    shareable        Shareable, ReservedHeaderKey, make_reply, make_copy, shareable_of
    event_type       EventType
    fl_component     FLComponent
    events           fire_event
    workspace        Workspace
    aux_messages     AuxMessages
    aux_payload      what aux messages carry

Its users import from these modules.
"""
