"""The doors between bytes and Structs: JSON, YAML and Kubernetes' protobuf envelope.

`json` is the fast way in and out; `strict` explains what is wrong, slowly, when it is; `canonical`
brings quantities and times into their one form; `protobuf` and `yaml` turn their bytes into plain
values; `tolerance` reads scalars as Go does, for all of them. Defaulting and validation are not
done here: see master.apiserver.registry.
"""
