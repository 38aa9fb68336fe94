"""What the integration tests share: real processes, real sockets, Python's standard library only.

    ports, process   free ports, programs that are ended by their pid whatever happens
    redis            a private redis-server, and a client of a few lines
    wire             the wire protocol by hand, as docs/protocol.md says
    mall             the messages of the services, barrier rows, the books
    web              HTTP requests, tokens, a participant that a test scripts
    stack            Redis, coordinators and services together
    case             the test case that all files use
    names            a name server
    load             orders without end, and what must be true when they have ended

Environment: SAGAD_BUILD (folder of the build), REDIS_SERVER.
"""
