"""This machine as a provider: each node is a process tree of its own."""
