"""Certificates, join tokens and identities. No policy: who may do what is master.apiserver.auth."""
