"""The API of Wherry: kinds and services as .proto files, the one source of truth.

Stubs are generated beside the .proto files at build time (`make protos`) and never committed.
No hand-written logic lives here except `codegen`, which makes the stubs and the Structs.
"""

import os

# We start no child that uses gRPC; its fork handlers would only slow down and log.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
