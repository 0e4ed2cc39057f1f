"""What is served and who answers (the catalogue, handlers), and how objects are read and written.

HTTP does not come in here, and neither does etcd: requests come in as values, storage is a Store.
What one kind alone has is in resources/.
"""
