"""What the API looks like, for clients that ask: OpenAPI v3 by group and version, and v2 as one.

Everything follows from the .proto files (`schemas`, `operations`); v2 is v3 said otherwise
(`version2`), and its protobuf form v2 once more (`gnostic`). Nothing here knows a request.
"""
