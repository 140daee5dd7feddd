"""The domain: spec, plan, job, submit, follow. No SDK is imported here."""
