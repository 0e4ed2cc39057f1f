"""Playbooks and roles for Ansible; docs/install.md tells how they are used.

There is one installer: the roles bring the bundle, write settings and tokens, and run the
deploy/install in it. What is decided of a machine does not belong here, but to deploy/machine.
"""
