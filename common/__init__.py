"""What both sides share: the API, clients, certificates, limits and process plumbing.

Nothing here knows what a master or a node does.
"""
