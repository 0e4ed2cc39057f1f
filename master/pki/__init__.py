"""The master's certificates: its authorities and their rotation, what it serves with, the
administrator's kubeconfig, and their renewal. What certificates are like is in common/security;
who may do what with one is decided in apiserver/auth."""
