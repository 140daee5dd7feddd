"""Whose cloud it is: the one account, and the keys that open it."""

ACCOUNT = "123456789012"
REGION = "us-east-1"
ROOT = ("test", "test")  # the account's own key, who may do everything
SUBMITTER = ("AKIARIGSUBMITTER2345", "the-submitter-of-the-rig")  # the user `submitter`
