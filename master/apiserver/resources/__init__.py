"""The rules of each kind: defaults, validation, what an update may change, its own subresources.

A folder an API group; a kind of many files has a folder of its own. `strategies` names them all.
Storage and HTTP do not come in here.
"""
