"""Steps between decoding and storing that depend on other objects than the written one."""
