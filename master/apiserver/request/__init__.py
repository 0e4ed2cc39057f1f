"""What a call is, whatever door it comes through: what it is for, its options, its body, its patch.

No HTTP and no gRPC, which are in `rest` and `rpc`.
"""
