"""Transfers measured side by side with the tools that people use for them."""
