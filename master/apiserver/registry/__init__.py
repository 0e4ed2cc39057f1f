"""The write and read pipeline of all kinds, and one strategy file a kind with rules of its own.

HTTP does not come in here, and neither does etcd: requests come in as values, storage is a Store.
"""
