"""What is used on the machines: Ansible, calls from outside, a reader of the pages, bundles."""
