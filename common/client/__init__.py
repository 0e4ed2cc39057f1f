"""The API client library: ApiClient, informers, listers, work queue, event recorder.

Nothing here decides anything; reconcilers live with their owners.
"""
