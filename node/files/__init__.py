"""Directories that containers write into: removed, measured, mounted and unmounted without
trusting them."""
