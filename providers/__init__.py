"""One folder a provider; SDKs are imported here only."""
