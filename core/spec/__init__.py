"""The job file: what it may say, how it is read, and what is said when it is wrong."""
