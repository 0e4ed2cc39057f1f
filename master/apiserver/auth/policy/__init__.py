"""The roles and bindings that every cluster has, as data, and what is missing of them."""
