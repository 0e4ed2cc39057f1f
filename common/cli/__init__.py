"""The `wherry` command. Each verb parses, calls a library and prints; no logic of its own."""
