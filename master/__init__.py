"""The control plane: API server, scheduler, controllers, and the state that they share."""

import os

# gRPC reads it when it is first imported. Children of a master are programs of their own: there is
# nothing to do around a fork, and the handlers complain about each one on stderr.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
