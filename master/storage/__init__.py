"""Where objects live: the Store protocol, etcd and memory behind it, the watch cache.

It knows keys, revisions and bytes. What the bytes mean is the business of master.apiserver.
"""
