"""What each kind has of its own: rules, cells of tables, fields for selectors, subresources.

A folder an API group; a kind of many files has a folder of its own. Each names its rules `RULES`;
the catalogue takes them from there. Storage and HTTP do not come in here.
"""
