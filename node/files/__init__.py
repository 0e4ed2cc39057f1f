"""Directories that containers write into: removed, mounted and unmounted without trusting them."""
