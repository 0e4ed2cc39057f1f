"""The API as Python: Structs, scheme, codec, selectors, quantities, patches, errors. All pure.

No IO, no clock, no random numbers, no asyncio; nothing that belongs to one controller or node.
"""
