"""The blobs floor: where the bytes of a transfer come from, and where they go.

    source   FileSource, BufferSource       read(offset, length)
    sink     FileSink, BufferSink           write(offset, data), then commit() or discard()
    digest   of a chunk                     digest, check_digest
    paths    names and paths from a peer    safe_name, resolve_below

All of it may block: it runs on workers for I/O, never on the reactor.
"""
