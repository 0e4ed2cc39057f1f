"""What both sides share: the API, clients, certificates and process plumbing.

Nothing here knows what a master or a node does.
"""
