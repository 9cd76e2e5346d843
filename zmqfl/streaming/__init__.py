"""The streaming floor: objects and files that go chunk by chunk, with FLARE's contracts and seed 000's names.

    contracts           StreamContext, ObjectProducer, ObjectConsumer, ConsumerFactory, StreamableEngine, callbacks
    cell_streams        CellStreamEngine, Arrival: streams of raw bytes, for the streamers of this floor
    sending             an ObjectProducer as the producer of a push
    receiving           an ObjectConsumer as the consumer of a push
    object_streamer     ObjectStreamer
    streamer_base       StreamerBase
    file_streamer       FileStreamer: push
    file_receiver       files that a FileStreamer receives
    file_objects        files as objects, for engines that are no CellStreamEngine
    file_downloader     FileDownloader, download_file: pull
    object_retriever    ObjectRetriever: ask another site to stream something here
    file_retriever      FileRetriever
    container_retriever ContainerRetriever
    retriever_shelf     the names of containers
    retrievals          what a site waits for
    retrieval_watch     how it sees the streams of it
    retrieval_service   the site that is asked
    cell_engine         CellEngine: an engine for programs without a runtime

Its users import from these modules.
"""
