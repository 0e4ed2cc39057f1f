"""Verbs of `wherry` that give, list, renew and end credentials: certificates, tokens, keys."""
