"""The reader for people and for other software: HTTP, page, records, deployment."""
