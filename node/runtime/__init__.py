"""The Runtime and Sandbox protocols, the Podman driver and the fake. The only door to Podman.

What should run is not decided here: that is node.kubelet.
"""
